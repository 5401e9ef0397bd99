"""``api:URL``: a server with OpenAI's chat interface, which decodes by itself.

vLLM, SGLang, ``transformers serve`` and the providers of diffusion models implement it.  It
returns replies and their durations only: no decoding order, no model calls.

With ``diffusing`` the server streams as Inception's Mercury does: each event holds the *whole*
current draft instead of an addition, and the last one is the reply.  The number of drafts is
recorded, but it is not the number of model calls.

Thinking is not part of the answer, in a separate field or in a block before the answer
(:mod:`parallelbench.prompt.thinking`); without an answer after it there is no reply.

The key of a provider is read from an environment variable when the server is opened, and sent
in the header of the requests only.

Source: Inception Labs, API documentation, on streams of whole drafts (``diffusing``).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from parallelbench.errors import RequestError
from parallelbench.model import MODELS, ModelSource, Server
from parallelbench.ranges import nonnegative, positive, whole

_DEFAULT_KEY_ENV = "OPENAI_API_KEY"
_DEFAULT_MAX_TOKENS = 256
#: Form of an environment variable's name.
_VARIABLE = re.compile(r"[A-Z_][A-Z\d_]{0,63}")
#: Form of an API key that could be mistaken for such a name.
_LIKELY_KEY = re.compile(r"(?=.*\d)[A-Z\d]{20,}")


@MODELS.register("api")
@dataclass(frozen=True, kw_only=True)
class Api(ModelSource):
    """A model served at an address, requested through ``/chat/completions``.

    Attributes:
        url: Address before ``/chat/completions``; http or https, without credentials.
        model: Name of the model on the server.
        key_env: Name of the environment variable that holds the key; if there is no such
            variable, no key is sent.
        max_tokens: Maximum length of a reply, in the server's tokens, at least 1; None sends
            no limit.
        max_completion_tokens: Same limit under the field name of OpenAI's reasoning models;
            ``max_tokens`` is not sent then.
        temperature: Sampling temperature, 0 or more; 0 is greedy, None leaves it to the server.
        stream: True to stream the reply; without streaming a server may time out.
        diffusing: True if the stream consists of whole drafts; implies streaming.
        reasoning_effort: Server's name of a thinking effort; None leaves it to the server.
        seed: True to send a seed derived from the key of the decode, unless the temperature is
            0: some servers refuse a seed at temperature 0.
        concurrency: Number of simultaneous requests, in [1, 1024].
        timeout: Maximum seconds of one request, in (0, 86400], up to the last byte of the
            reply.
        attempts: Maximum number of requests for one reply, in [1, 100].

    Raises:
        ValueError: A field is out of range, or contains a secret that would be recorded.
    """

    summary: ClassVar[str] = "a server with OpenAI's chat interface, which decodes by itself"
    address: ClassVar[str | None] = "url"
    serves: ClassVar[bool] = True

    url: str
    model: str | None = None
    key_env: str = _DEFAULT_KEY_ENV
    max_tokens: int | None = whole(1, _DEFAULT_MAX_TOKENS, "token")
    temperature: float | None = nonnegative(0.0)
    stream: bool = False
    diffusing: bool = False
    reasoning_effort: str | None = None
    seed: bool = True
    concurrency: int = whole(1, 8, "requests", most=1024)
    timeout: float = positive(120.0, "seconds", most=86_400.0)
    attempts: int = whole(1, 5, "requests", most=100)
    max_completion_tokens: int | None = whole(1, None, "token")

    def __post_init__(self) -> None:
        from parallelbench.models.api_address import check_url

        check_url(self.url)
        # With and without a trailing slash it is the same server.
        object.__setattr__(self, "url", self.url.rstrip("/"))
        if self.model is None:
            raise ValueError(
                "it needs the model's name on the server: add model=NAME "
                "(for `transformers serve`, the folder it was started with)"
            )
        if not _VARIABLE.fullmatch(self.key_env) or _LIKELY_KEY.fullmatch(self.key_env):
            raise ValueError(
                "key_env must name an environment variable, in capitals such as "
                f"{_DEFAULT_KEY_ENV}; the value is not shown, because it may be the key itself"
            )
        super().__post_init__()
        if self.max_completion_tokens is not None and self.max_tokens not in {
            None,
            _DEFAULT_MAX_TOKENS,
        }:
            raise ValueError(
                "max_tokens and max_completion_tokens are two names of one limit; give one, got "
                f"{self.max_tokens} and {self.max_completion_tokens}"
            )

    @property
    def request(self) -> dict[str, Any]:
        """The fields of every request, without messages and seed."""
        fields: dict[str, Any] = {"model": self.model}
        # Many servers reject unknown fields.
        if self.max_completion_tokens is not None:
            fields["max_completion_tokens"] = self.max_completion_tokens
        elif self.max_tokens is not None:
            fields["max_tokens"] = self.max_tokens
        if self.temperature is not None:
            fields["temperature"] = self.temperature
        fields["stream"] = self.stream or self.diffusing
        if self.diffusing:
            fields["diffusing"] = True
        if self.reasoning_effort is not None:
            fields["reasoning_effort"] = self.reasoning_effort
        return fields

    @property
    def seeded(self) -> bool:
        """True if requests carry a seed."""
        return self.seed and (self.temperature is None or self.temperature > 0)

    def open(self) -> Server:
        """Return the server; no request is sent yet.

        Raises:
            RequestError: The key or the proxy that the environment names cannot be used.
        """
        from parallelbench.models.api_address import is_loopback
        from parallelbench.models.api_server import ApiServer

        key = os.environ.get(self.key_env, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise RequestError(
                f"the environment variable {self.key_env} holds no key: keys have no line "
                "breaks and no characters outside ASCII (its value is not shown)"
            )
        in_the_clear = self.url.lower().startswith("http:") and not is_loopback(self.url)
        # The key of a provider must not leak to another server with the same interface.
        if key and in_the_clear and self.key_env == _DEFAULT_KEY_ENV:
            raise RequestError(
                f"{self.url} is not encrypted, and the key in {_DEFAULT_KEY_ENV} would be sent "
                f"in clear text; use https, unset {_DEFAULT_KEY_ENV} if the server needs no key, "
                "or name the variable of its own key with key_env=NAME"
            )
        return ApiServer(self, key)
