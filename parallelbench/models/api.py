"""A server with the chat interface that OpenAI made common: it decodes by itself.

vLLM, SGLang, ``transformers serve`` and the providers of diffusion models speak it.  Only
replies and the time they take come back: no order of decoding, no model calls.

With ``diffusing`` the server is asked for the stream that Inception's Mercury has: each
piece is the *whole* draft as it stands, not what was added, and the last one is the reply.
How many drafts there were is told, but it is no count of model calls.

A reply is never scored unless it is whole: what is cut off, garbled or late is asked for
again, after a growing random pause.  Thinking is no part of the answer, whether it comes in a
field of its own or in a block before the answer (:mod:`parallelbench.prompt.thinking`); where no
answer follows, there is no reply.

The key of a provider is read from an environment variable when the server is opened.  It
goes into the header of the requests and nowhere else; redirects are not followed, lest it
travel to another host.  Where a server repeats it, ``[key]`` stands in replies, errors and logs.

Source: Inception Labs, API documentation, on streams of whole drafts (``diffusing``); the
documentation of vLLM and SGLang on ``reasoning`` and ``reasoning_content``; WHATWG, HTML Living
Standard, section 9.2 "Server-sent events".
"""

from __future__ import annotations

import codecs
import contextlib
import email.utils
import hashlib
import ipaddress
import itertools
import json
import logging
import math
import os
import random
import re
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn

from pydantic import BaseModel, ValidationError

from parallelbench.errors import RequestError, ServerError
from parallelbench.model import MODELS, ModelSource, Reply, Server
from parallelbench.prompt.thinking import answer_of
from parallelbench.task import Message

if TYPE_CHECKING:
    from httpcore import ConnectionPool, Response
    from httpx import URL

    from parallelbench.models.api_connection import Allowance
else:
    # For the type checks of the tests: the real ones would slow down every command.
    URL = ConnectionPool = Response = Allowance = Any

_DEFAULT_KEY_ENV = "OPENAI_API_KEY"
_DEFAULT_MAX_TOKENS = 256
#: The name of an environment variable, as they are written.
_VARIABLE = re.compile(r"[A-Z_][A-Z\d_]{0,63}")
#: A key that could be taken for one.
_LIKELY_KEY = re.compile(r"(?=.*\d)[A-Z\d]{20,}")
#: Statuses that another try may not meet; so may any from 500 on.
_PASSING = frozenset({408, 409, 425, 429})
#: Statuses of a request that the server does not take as it stands.
_REFUSING = frozenset({400, 422})
#: Statuses that name another address.
_REDIRECTING = frozenset({301, 302, 303, 307, 308})
#: What to ask for where a server does not take a field of the requests.
_WITHOUT = {
    "max_tokens": "max_completion_tokens=N or max_tokens=none",
    "max_completion_tokens": "max_tokens=N in its place",
    "temperature": "temperature=none",
    "seed": "seed=false",
    "reasoning_effort": "no reasoning_effort",
}
#: Where the library tells those who debug it what it received.
_LIBRARY_LOG = logging.getLogger("httpcore.http11")
_LINE_END = re.compile(rb"\r\n|\n|\r")
#: Bytes of one reply, all its drafts included.
_LARGEST_REPLY = 16 * 2**20
#: Bytes that one request may bring in all, headers and the frames of its chunks included.
_MOST_RECEIVED = 2 * _LARGEST_REPLY
_JSON = "application/json"
#: Characters of what a server says that are quoted in an error.
_LONGEST_QUOTE = 200
#: Seconds: of the first pause at most, of any pause at most, and if the server asks for it.
_FIRST_PAUSE, _LONGEST_PAUSE, _LONGEST_ASKED = 0.5, 30.0, 60.0
#: Characters of a key that is taken out of replies.
_SHORTEST_SECRET = 8
#: Seconds until a host that does not even accept a connection is given up.
_LONGEST_CONNECT = 10.0


@MODELS.register("api")
@dataclass(frozen=True, kw_only=True)
class Api(ModelSource):
    """A model behind an address, asked through ``/chat/completions``.

    Attributes:
        url: What stands before ``/chat/completions``; http or https, without credentials.
        model: Its name there.
        key_env: Name of the environment variable that holds the key; if there is no such
            variable, no key is sent.
        max_tokens: Longest reply, in the server's tokens, at least 1; None does not say.
        max_completion_tokens: The same under the name that OpenAI's reasoning models take;
            ``max_tokens`` is not sent then.
        temperature: Of its draws, 0 or more; 0 asks for the likeliest, None does not say.
        stream: Whether the reply comes in pieces; a server may time out without.
        diffusing: Whether the pieces are whole drafts; they are streamed then.
        reasoning_effort: How long it thinks, in its own words; None does not say.
        seed: Whether a request with a temperature above 0 carries a seed made from the key
            of its decode, also if the temperature is left to the server.  At temperature 0
            none is sent: some servers refuse the two.
        concurrency: Requests at a time, in [1, 1024].
        timeout: Seconds for one whole request, in (0, 86400]: what is not there then, be it
            the last byte of a trailer, is given up.
        attempts: Requests made for one reply at most, in [1, 100].

    Raises:
        ValueError: A field is out of its range, or holds a secret that would be recorded.
    """

    summary: ClassVar[str] = "a server with OpenAI's chat interface, which decodes by itself"
    address: ClassVar[str | None] = "url"
    serves: ClassVar[bool] = True

    url: str
    model: str | None = None
    key_env: str = _DEFAULT_KEY_ENV
    max_tokens: int | None = _DEFAULT_MAX_TOKENS
    temperature: float | None = 0.0
    stream: bool = False
    diffusing: bool = False
    reasoning_effort: str | None = None
    seed: bool = True
    concurrency: int = 8
    timeout: float = 120.0
    attempts: int = 5
    max_completion_tokens: int | None = None

    def __post_init__(self) -> None:
        _check_url(self.url)
        # One server has one name, however its address was typed.
        object.__setattr__(self, "url", self.url.rstrip("/"))
        if self.model is None:
            raise ValueError(
                "it needs the name by which the server knows the model: add model=NAME "
                "(for `transformers serve`, the folder it was started with)"
            )
        if not _VARIABLE.fullmatch(self.key_env) or _LIKELY_KEY.fullmatch(self.key_env):
            raise ValueError(
                "key_env must name an environment variable, in capitals such as "
                f"{_DEFAULT_KEY_ENV}; what was given is not shown, for it may be the key itself"
            )
        self._check_ranges()

    def _check_ranges(self) -> None:
        for name in ("max_tokens", "max_completion_tokens"):
            tokens = getattr(self, name)
            if tokens is not None and tokens < 1:
                raise ValueError(f"{name} must be at least 1 token, got {tokens}")
        if self.max_completion_tokens is not None and self.max_tokens not in {
            None,
            _DEFAULT_MAX_TOKENS,
        }:
            raise ValueError(
                "max_tokens and max_completion_tokens are two names of one limit; give one, got "
                f"{self.max_tokens} and {self.max_completion_tokens}"
            )
        if self.temperature is not None and not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be 0 or more, got {self.temperature}")
        if not 1 <= self.concurrency <= 1024:
            raise ValueError(f"concurrency must be 1 to 1024 requests, got {self.concurrency}")
        if not 0 < self.timeout <= 86_400:
            raise ValueError(f"timeout must lie in (0, 86400] seconds, got {self.timeout}")
        if not 1 <= self.attempts <= 100:
            raise ValueError(f"attempts must be 1 to 100 requests, got {self.attempts}")

    @property
    def request(self) -> dict[str, Any]:
        """What every request says, beside its messages and its seed."""
        fields: dict[str, Any] = {"model": self.model}
        # Many servers refuse a field that they do not know.
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
        """Whether requests carry a seed."""
        return self.seed and (self.temperature is None or self.temperature > 0)

    def open(self) -> ApiServer:
        """Return the server; nothing is sent to it yet.

        Raises:
            RequestError: The key or the proxy that the environment names cannot be used.
        """
        key = os.environ.get(self.key_env, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise RequestError(
                f"the environment variable {self.key_env} holds no key: keys have no line "
                "breaks and no characters outside ASCII (its value is not shown)"
            )
        in_the_clear = self.url.lower().startswith("http:") and not _is_loopback(self.url)
        # The key of a provider must not leak to whatever else speaks its interface.
        if key and in_the_clear and self.key_env == _DEFAULT_KEY_ENV:
            raise RequestError(
                f"{self.url} is not encrypted, and the key in {_DEFAULT_KEY_ENV} would be sent "
                f"there for all to read; use https, unset {_DEFAULT_KEY_ENV} if the server needs "
                "no key, or name the variable of its own key with key_env=NAME"
            )
        return ApiServer(self, key)


def _check_url(url: str) -> None:
    if "@" in url or "?" in url or "#" in url:
        raise ValueError(
            "url must hold no user, password or query, for they would reach the records (it is "
            "not shown here); put the key into an environment variable and name it: key_env=NAME"
        )
    import httpx

    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise ValueError(f"url {url!r} cannot be read: {error}") from error
    if parsed.port is not None and not 0 < parsed.port < 65_536:
        raise ValueError(f"the port of url must be 1 to 65535, got {url!r}")
    if parsed.scheme not in {"http", "https"} or not parsed.host or " " in url:
        raise ValueError(
            f"url must begin with http:// or https:// and a host, got {url!r}; for example "
            "http://127.0.0.1:8000/v1"
        )
    if url.rstrip("/").endswith("/completions"):
        raise ValueError(f"url must end before /chat/completions, got {url!r}")


def _is_loopback(url: str) -> bool:
    """Return whether ``url`` is of this machine itself."""
    import httpx

    host = httpx.URL(url).host
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for ``url``; None to ask it directly."""
    import httpx

    parsed = httpx.URL(url)
    proxies = urllib.request.getproxies()
    address = proxies.get(parsed.scheme) or proxies.get("all")
    # A proxy cannot reach this machine's own loopback addresses.
    if not address or _is_loopback(url) or _is_exempt(parsed, proxies.get("no", "")):
        return None
    return address if "://" in address else f"http://{address}"


def _is_exempt(url: URL, exempt: str) -> bool:
    """Return whether NO_PROXY names the host of ``url``, its domain, or a network it lies in."""
    host = url.host.lower()
    for entry in exempt.lower().split(","):
        name = entry.strip().rpartition("://")[2].lstrip(".")
        if name == "*":
            return True
        hosts = (host, f"{host}:{url.port}")
        if name and any(each == name or each.endswith(f".{name}") for each in hosts):
            return True
        with contextlib.suppress(ValueError):
            network = ipaddress.ip_network(name.replace("[", "").replace("]", ""), strict=False)
            if ipaddress.ip_address(host) in network:
                return True
    return False


class ApiServer(Server):
    """Asks for replies over one set of connections, shared by all threads.

    Args:
        source: Whom to ask, and how.
        key: Sent with every request; empty for none.
        wait: Pauses between attempts: waits until the event is set, for so many seconds at
            most, and returns whether it is.
    """

    def __init__(
        self,
        source: Api,
        key: str,
        *,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        self.concurrency = source.concurrency
        described = json.dumps([source.url, source.request, source.seeded], sort_keys=True)
        self.digest = hashlib.sha256(described.encode()).hexdigest()
        self._source = source
        self._key = key
        self._wait = wait
        self._lock = threading.Lock()
        self._line: _Line | None = self._connect()

    def reply(self, messages: Sequence[Message], *, key: str) -> Reply:
        """Return the reply to ``messages``, after as many attempts as are allowed.

        Raises:
            ServerError: There was none, or :meth:`close` was called meanwhile.
        """
        body = {**self._source.request, "messages": [message._asdict() for message in messages]}
        if self._source.seeded:
            body["seed"] = _seed(key)
        begun = time.monotonic()
        with self._connected() as line:
            for attempt in itertools.count(1):
                outcome = self._attempt(line, body, attempt)
                if isinstance(outcome, Reply):
                    return outcome
                last = attempt == self._source.attempts or not outcome.again
                if last or self._wait(line.ended, _pause(attempt, outcome.after)):
                    self._give_up(outcome, attempt, time.monotonic() - begun)
        raise AssertionError("attempts are counted without end")

    def provenance(self) -> dict[str, Any]:
        """Return address, request and manners; the name of the key's variable, if it is set."""
        return {
            "family": "api",
            "url": self._source.url,
            "request": self._source.request,
            "seeded": self._source.seeded,
            "key_env": self._source.key_env if self._key else None,
            "concurrency": self.concurrency,
            "timeout": self._source.timeout,
            "attempts": self._source.attempts,
        }

    def close(self) -> None:
        """Hang up: requests under way make no further attempt; a later one connects anew."""
        with self._lock:
            line, self._line = self._line, None
            if line is not None:
                line.end()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[_Line]:
        with self._lock:
            if self._line is None:
                self._line = self._connect()
            line = self._line
            line.users += 1
        try:
            yield line
        finally:
            with self._lock:
                line.leave()

    def _connect(self) -> _Line:
        import httpx

        from parallelbench.models.api_connection import Allowance, connections

        allowance = Allowance()
        # The proxy is chosen here: the library's own reading of NO_PROXY fails on networks of
        # IPv6 addresses.
        proxy = _proxy_for(self._source.url)
        try:
            pool = connections(proxy, self.concurrency, allowance)
        except (httpx.InvalidURL, ValueError, RuntimeError, OSError) as error:
            # What is said of an address may hold the password of a proxy.
            reason = str(error) if isinstance(error, RuntimeError | OSError) else "not an address"
            raise RequestError(
                "the proxy or the certificates that the environment names (HTTPS_PROXY, "
                f"SSL_CERT_FILE and the like) cannot be used: {reason}"
            ) from None
        return _Line(pool, allowance, self._key)

    def _attempt(self, line: _Line, body: dict[str, Any], attempt: int) -> Reply | _FailedError:
        """Make one request; return its reply, or why there is none."""
        import httpcore

        from parallelbench.models.api_connection import TooManyBytesError

        timeout = self._source.timeout
        begun = time.monotonic()
        try:
            with line.allowance.of(timeout, _MOST_RECEIVED):
                said = self._ask(line.pool, body)
        except _FailedError as failed:
            return failed
        except TooManyBytesError:
            return _FailedError(f"it sent more than {_MOST_RECEIVED} bytes", again=False)
        except httpcore.ConnectTimeout:
            seconds = min(timeout, _LONGEST_CONNECT)
            return _FailedError(f"no connection could be made within {seconds:g} seconds")
        except httpcore.TimeoutException:
            return _FailedError(f"no whole reply came within timeout={timeout:g} seconds")
        # A host name that no address book can hold fails with an error of its own.
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.ProxyError,
            UnicodeError,
        ) as error:
            return _FailedError("the connection failed", quote=str(error))
        return self._masked(said).reply(attempt, time.monotonic() - begun)

    def _ask(self, pool: ConnectionPool, body: dict[str, Any]) -> _Said:
        from parallelbench.models.api_connection import parsed

        url = parsed(f"{self._source.url}/chat/completions")
        timeout = self._source.timeout
        silences = dict.fromkeys(("connect", "read", "write", "pool"), timeout)
        silences["connect"] = min(timeout, _LONGEST_CONNECT)
        sent = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        with pool.stream(
            "POST", url, headers=self._headers(), content=sent, extensions={"timeout": silences}
        ) as response:
            pieces = _in_bounds(response.iter_stream())
            if not 200 <= response.status < 300:
                self._refuse(response, pieces)
            # A server that cannot stream may answer in one piece all the same.
            if body["stream"] and not _header(response, "content-type").startswith(_JSON):
                return _read_stream(pieces, whole=self._source.diffusing)
            return _read_answer(b"".join(pieces))

    def _headers(self) -> list[tuple[str, str]]:
        # Nothing is packed: a small answer could otherwise unfold to any size in memory.
        headers = {
            "accept": "*/*",
            "accept-encoding": "identity",
            "content-type": _JSON,
            "user-agent": "parallelbench",
        }
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        return list(headers.items())

    def _refuse(self, response: Response, pieces: Iterable[bytes]) -> NoReturn:
        status = response.status
        location = _header(response, "location")
        if status in _REDIRECTING and location:
            raise _FailedError(
                f"it answered {status} and sends on to another address, which is not followed "
                "because the key must not travel there; give that address",
                quote=location.partition("?")[0],
                again=False,
            )
        hint = ""
        if status in {401, 403} and not self._key:
            hint = (
                f" (no key was sent: the environment variable {self._source.key_env} is not set; "
                "key_env=NAME names another)"
            )
        quote = _message(b"".join(pieces))
        if status in _REFUSING:
            hint += _advice(quote, self._source.request)
        raise _FailedError(
            f"it answered {status}{hint}",
            quote=quote,
            again=status in _PASSING or status >= 500,
            after=_asked_pause(_header(response, "retry-after")),
        )

    def _give_up(self, failed: _FailedError, attempts: int, seconds: float) -> NoReturn:
        # First the key is taken out, then it is cut: half a key would not be found.
        quote = " ".join(self._without_key(failed.quote).split())
        shown = "".join(c if c.isprintable() else "\ufffd" for c in quote[:_LONGEST_QUOTE])
        tries = "1 try" if attempts == 1 else f"{attempts} tries"
        told = f"{failed.why}: {shown}" if shown else failed.why
        sentence = f"{self._source.url} gave no usable reply in {tries}; {told}"
        said = failed.said
        fragment = None if said is None else self._masked(said).reply(attempts, seconds)
        raise ServerError(sentence, fragment) from failed

    def _masked(self, said: _Said) -> _Said:
        """Return ``said`` without the key, which a server may repeat in its reply.

        A key as short as a word may be part of a right answer, and is no secret.
        """
        if len(self._key) < _SHORTEST_SECRET:
            return said

        def masked(text: str | None) -> str | None:
            return None if text is None else self._without_key(text)

        return said._replace(
            content=masked(said.content),
            finish=masked(said.finish),
            reasoning=masked(said.reasoning),
        )

    def _without_key(self, text: str) -> str:
        return _without(self._key, text)


class _Line:
    """Connections in use by some threads; whoever leaves last closes them.

    To close them under a waiting thread would not wake that thread.  The caller holds a lock.

    Attributes:
        pool: Keeps the connections.
        allowance: Of the request that a thread makes over them.
        ended: Set when nobody wants the replies any more.
        users: Threads that have a request under way.
    """

    def __init__(self, pool: ConnectionPool, allowance: Allowance, key: str) -> None:
        self.pool = pool
        self.allowance = allowance
        self._mask = _Mask(key)
        _LIBRARY_LOG.addFilter(self._mask)
        self.ended = threading.Event()
        self.users = 0

    def leave(self) -> None:
        self.users -= 1
        self._close_if_left()

    def end(self) -> None:
        self.ended.set()
        self._close_if_left()

    def _close_if_left(self) -> None:
        if self.ended.is_set() and self.users == 0:
            self.pool.close()
            _LIBRARY_LOG.removeFilter(self._mask)


class _Mask(logging.Filter):
    """Takes a key out of what is logged."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _without(self._key, record.getMessage()), ()
        return True


class _FailedError(Exception):
    """One request brought no usable reply.

    Args:
        why: In words of ours.
        quote: In the words of others, who may repeat the key.
        again: Whether another request may do better.
        after: Seconds that the server asks to be left alone.
        said: What came back all the same; None for nothing.
    """

    def __init__(
        self,
        why: str,
        *,
        quote: str = "",
        again: bool = True,
        after: float = 0.0,
        said: _Said | None = None,
    ) -> None:
        super().__init__(why)
        self.why = why
        self.quote = quote
        self.again = again
        self.after = after
        self.said = said


def _without(key: str, text: str) -> str:
    """Return ``text`` without ``key``, however quoting may have escaped it."""
    if not key:
        return text
    forms = {key, repr(key)[1:-1], json.dumps(key)[1:-1], urllib.parse.quote(key, safe="")}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "[key]")
    return text


def _advice(quote: str, request: dict[str, Any]) -> str:
    """Return how to ask without the field of the request that a refusal names, if it names one."""
    named = [name for name in _WITHOUT if re.search(rf"\b{name}\b", quote)]
    field = next((name for name in named if name in request or name == "seed"), None)
    if field is None:
        return ""
    return f" (if the server does not take the field {field}, ask with {_WITHOUT[field]})"


def _seed(key: str) -> int:
    # 31 bits: what every server's idea of a whole number can hold.
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") >> 1


def _pause(attempt: int, asked: float) -> float:
    """Return the seconds to wait after ``attempt``: random, so that threads spread out.

    Source:
        Brooker (2015), "Exponential backoff and jitter", AWS Architecture Blog: full jitter.
    """
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempt - 1))
    return max(random.uniform(0, longest), asked)  # noqa: S311  not for secrets


def _asked_pause(retry_after: str) -> float:
    """Return the seconds that a ``Retry-After`` header means; 0 if it cannot be read."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, OverflowError, OSError):
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_ASKED) if math.isfinite(seconds) else 0.0


def _header(response: Response, name: str) -> str:
    """Return the first header called ``name``, in lower case; empty if there is none."""
    values = (value for header, value in response.headers if header.lower() == name.encode())
    return next(values, b"").decode("latin-1")


def _in_bounds(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield ``pieces`` as long as they are not too many."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > _LARGEST_REPLY:
            raise _FailedError(f"it was still writing after {_LARGEST_REPLY} bytes", again=False)
        yield piece


class _Said(NamedTuple):
    """What came back: see :class:`~parallelbench.model.Reply`."""

    content: str | None
    finish: str | None
    tokens: int | None
    drafts: int | None
    reasoning: str | None

    @property
    def answer(self) -> str | None:
        """The content without its thinking; None if there is none."""
        return None if self.content is None else answer_of(self.content)

    def reply(self, attempts: int, seconds: float) -> Reply:
        """Return what came back as a reply, empty if it holds no answer."""
        text = self.answer or ""
        return Reply(
            text=text,
            finish=self.finish,
            completion_tokens=self.tokens,
            drafts=self.drafts,
            attempts=attempts,
            seconds=seconds,
            content=None if self.content == text else self.content,
            reasoning=self.reasoning,
        )


class _Words(BaseModel):
    """A message, or what a piece of a stream adds to it."""

    content: str | None = None
    refusal: str | None = None
    # The names of vLLM and SGLang: the newer one first.
    reasoning: Any = None
    reasoning_content: Any = None

    @property
    def thought(self) -> str:
        """What the model thought, from a field of its own."""
        for said in (self.reasoning, self.reasoning_content):
            if said and isinstance(said, str):
                return said
        return ""


class _Choice(BaseModel):
    message: _Words | None = None
    delta: _Words | None = None
    finish_reason: str | None = None


class _Usage(BaseModel):
    completion_tokens: int | None = None


class _Answer(BaseModel):
    """A whole answer, or a piece of a stream: what is read of it."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None

    @property
    def tokens(self) -> int | None:
        return None if self.usage is None else self.usage.completion_tokens


def _read_answer(body: bytes) -> _Said:
    answer = _parsed(body.removeprefix(codecs.BOM_UTF8))
    if not answer.choices or answer.choices[0].message is None:
        raise _FailedError("its answer holds no message", quote=_message(body))
    choice, words = answer.choices[0], answer.choices[0].message
    said = _Said(words.content, choice.finish_reason, answer.tokens, None, words.thought or None)
    _refuse_silence(said, words.refusal)
    return said


def _read_stream(pieces: Iterable[bytes], *, whole: bool) -> _Said:
    contents: list[str] = []
    thoughts: list[str] = []
    refusal = finish = tokens = None
    done = False
    for kind, data in _events(pieces):
        if done := data.strip() == b"[DONE]":
            break
        if not data.strip():
            continue  # keeps the connection open, and says nothing
        answer = _Answer(error=True) if kind == b"error" else _parsed(data)
        if answer.error is not None:
            raise _FailedError("it broke off with an error", quote=_message(data))
        tokens = answer.tokens if answer.tokens is not None else tokens
        for choice in (answer.choices or [])[:1]:
            finish = choice.finish_reason or finish
            words = choice.delta or choice.message or _Words()
            contents += [] if words.content is None else [words.content]
            thoughts.append(words.thought)
            refusal = words.refusal or refusal
    # Some servers leave out the one, some the other; without both a reply is cut off.
    if not done and finish is None:
        raise _FailedError("its stream broke off before the end of the reply")
    # A reply may be empty: the model ended it at once, and no piece had anything to tell.
    content = "".join(contents) if contents or finish == "stop" else None
    said = _Said(content, finish, tokens, None, "".join(thoughts) or None)
    if whole and content is not None:
        said = _last_draft(contents, said)
    _refuse_silence(said, refusal)
    return said


def _last_draft(contents: Sequence[str], said: _Said) -> _Said:
    # The first and the last piece often carry no text: they are no drafts.
    drafts = [content for content in contents if content] or [""]
    # A token has a byte at least, save the few that are not written.
    if said.tokens is not None and said.tokens > len(drafts[-1].encode()) + 8:
        raise _FailedError(
            f"its last draft is shorter than the {said.tokens} tokens that it counted, so these "
            "are no whole drafts; set diffusing=false",
            quote=drafts[-1],
            again=False,
        )
    return said._replace(content=drafts[-1], drafts=len(drafts) - 1)


def _refuse_silence(said: _Said, refusal: str | None) -> None:
    """Refuse a reply without an answer: the same question would meet the same silence."""
    answer = said.answer
    # A model may end its reply at once; for any other reason nothing is no answer.
    ended = said.finish in {None, "stop"}
    if answer is not None and (answer or ended) and not refusal:
        return
    details = [f"finish_reason {said.finish}"] if said.finish else []
    details += [f"{said.tokens} tokens"] if said.tokens is not None else []
    why = "its reply has no content: it refused, or thought too long"
    if said.content and answer is None:
        why = (
            "its reply has no answer: its thinking has no end (a larger max_tokens leaves room "
            "for it)"
        )
    raise _FailedError(
        "it refused" if refusal else why,
        quote=refusal or ", ".join(details),
        again=False,
        said=said,
    )


def _events(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and data of each event in a stream of server-sent events.

    An event at the end of the stream counts without its empty line, which many servers leave
    out: a reply that is cut off is found by its content.

    Source: WHATWG, HTML Living Standard, section 9.2.6, "Interpreting an event stream".
    """
    kind, data = b"", list[bytes]()
    for line in itertools.chain(_lines(pieces), [b""]):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value
        elif not line:
            if data:
                yield kind, b"\n".join(data)
            kind, data = b"", []


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a stream, which end at CR LF, LF or CR and at nothing else.

    ``str.splitlines`` also cuts at characters that JSON allows within a string.
    """
    rest = b""
    begun = False
    for piece in pieces:
        rest += piece
        if not begun:
            if len(rest) < len(codecs.BOM_UTF8) and codecs.BOM_UTF8.startswith(rest):
                continue
            rest = rest.removeprefix(codecs.BOM_UTF8)
            begun = True
        # A CR at the end may be the first half of a CR LF.
        whole, held = (rest[:-1], b"\r") if rest.endswith(b"\r") else (rest, b"")
        *lines, rest = _LINE_END.split(whole)
        rest += held
        yield from lines
    yield from _LINE_END.split(rest)


def _parsed(body: bytes) -> _Answer:
    try:
        return _Answer.model_validate_json(body)
    except ValidationError as error:
        raise _FailedError("its answer cannot be read", quote=_message(body)) from error


def _message(body: bytes) -> str:
    """Return what a server says of an error, in whichever of the usual forms it comes."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")
    for name in ("error", "message", "detail"):
        if isinstance(told, dict) and name in told:
            told = told[name]
    return told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)
