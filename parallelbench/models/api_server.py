"""Requests to a server with OpenAI's chat interface, and what its answers say.

A reply is scored only if it is complete: a reply that is cut off, malformed or late is requested
again after an exponentially growing random pause.  Redirects are not followed, so that the key
never reaches another host.  Where a server repeats the key, ``[key]`` replaces it in replies,
errors and logs.

Source: Inception Labs, API documentation, on streams of whole drafts (``diffusing``); the
documentation of vLLM and SGLang on ``reasoning`` and ``reasoning_content``; WHATWG, HTML Living
Standard, section 9.2 "Server-sent events".
"""

from __future__ import annotations

import codecs
import contextlib
import email.utils
import hashlib
import itertools
import json
import logging
import math
import random
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import httpcore
import httpx
from httpcore import ConnectionPool, Response
from pydantic import BaseModel, ValidationError

from parallelbench.errors import RequestError, ServerError
from parallelbench.model import Reply, Server
from parallelbench.models.api import Api
from parallelbench.models.api_address import proxy_for
from parallelbench.models.api_connection import Allowance, TooManyBytesError, connections, parse_url
from parallelbench.prompt.thinking import answer_of
from parallelbench.task import Message

#: Statuses after which a retry may succeed; so may any from 500 on.
_PASSING = frozenset({408, 409, 425, 429})
#: Statuses of a server that rejects the request itself.
_REFUSING = frozenset({400, 422})
#: Statuses that redirect to another address.
_REDIRECTING = frozenset({301, 302, 303, 307, 308})
#: By request field, the setting that leaves it out, for servers that reject the field.
_WITHOUT = {
    "max_tokens": "max_completion_tokens=N or max_tokens=none",
    "max_completion_tokens": "max_tokens=N in its place",
    "temperature": "temperature=none",
    "seed": "seed=false",
    "reasoning_effort": "no reasoning_effort",
}
#: Logger to which the HTTP library writes what it receives, at level DEBUG.
_LIBRARY_LOG = logging.getLogger("httpcore.http11")
_LINE_END = re.compile(rb"\r\n|\n|\r")
#: Maximum bytes of one reply, including all of its drafts.
_LARGEST_REPLY = 16 * 2**20
#: Maximum bytes received for one request, including headers and chunk framing.
_MOST_RECEIVED = 2 * _LARGEST_REPLY
_JSON = "application/json"
#: Maximum characters of a server's message that an error quotes.
_LONGEST_QUOTE = 200
#: Maximum seconds of the first pause, of any pause, and of a pause that the server requests.
_FIRST_PAUSE, _LONGEST_PAUSE, _LONGEST_ASKED = 0.5, 30.0, 60.0
#: Minimum length of a key that is removed from replies.
_SHORTEST_SECRET = 8
#: Maximum seconds until a host accepts a connection.
_LONGEST_CONNECT = 10.0


class ApiServer(Server):
    """Client of a chat server; all threads share its connections.

    Args:
        source: Address of the server and fields of the requests.
        key: API key sent with every request; empty for none.
        wait: Function that pauses between attempts: it waits until the event is set, at most
            the given number of seconds, and returns True if the event was set.
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
        self._client: _SharedClient | None = self._connect()

    def reply(self, messages: Sequence[Message], *, key: str) -> Reply:
        """Return the reply to ``messages``, after as many attempts as are allowed.

        Raises:
            ServerError: No attempt succeeded, or :meth:`close` was called meanwhile.
        """
        body = {**self._source.request, "messages": [message._asdict() for message in messages]}
        if self._source.seeded:
            body["seed"] = _seed(key)
        begun = time.monotonic()
        with self._connected() as client:
            for attempt in itertools.count(1):
                outcome = self._attempt(client, body, attempt)
                if isinstance(outcome, Reply):
                    return outcome
                last = attempt == self._source.attempts or not outcome.again
                if last or self._wait(client.ended, _pause(attempt, outcome.after)):
                    self._give_up(outcome, attempt, time.monotonic() - begun)
        raise AssertionError("attempts are counted without end")

    def provenance(self) -> dict[str, Any]:
        """Return address, request fields and limits, and the key's environment variable if set."""
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
        """Close the connections: pending requests are not retried; a later request reconnects."""
        with self._lock:
            client, self._client = self._client, None
            if client is not None:
                client.end()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[_SharedClient]:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            client = self._client
            client.users += 1
        try:
            yield client
        finally:
            with self._lock:
                client.leave()

    def _connect(self) -> _SharedClient:
        allowance = Allowance()
        # The proxy is chosen here: the library cannot parse IPv6 networks in NO_PROXY.
        proxy = proxy_for(self._source.url)
        try:
            pool = connections(proxy, self.concurrency, allowance)
        except (httpx.InvalidURL, ValueError, RuntimeError, OSError) as error:
            # A message about an address may contain the password of a proxy.
            reason = str(error) if isinstance(error, RuntimeError | OSError) else "not an address"
            raise RequestError(
                "the proxy or the certificates that the environment names (HTTPS_PROXY, "
                f"SSL_CERT_FILE and the like) cannot be used: {reason}"
            ) from None
        return _SharedClient(pool, allowance, self._key)

    def _attempt(
        self, client: _SharedClient, body: dict[str, Any], attempt: int
    ) -> Reply | _FailedError:
        """Make one request; return its reply, or the error that it failed with."""
        timeout = self._source.timeout
        begun = time.monotonic()
        try:
            with client.allowance.of(timeout, _MOST_RECEIVED):
                completion = self._ask(client.pool, body)
        except _FailedError as failed:
            return failed
        except TooManyBytesError:
            return _FailedError(f"it sent more than {_MOST_RECEIVED} bytes", again=False)
        except httpcore.ConnectTimeout:
            seconds = min(timeout, _LONGEST_CONNECT)
            return _FailedError(f"no connection could be made within {seconds:g} seconds")
        except httpcore.TimeoutException:
            return _FailedError(f"no whole reply came within timeout={timeout:g} seconds")
        # An unencodable host name raises an error of another type.
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.ProxyError,
            UnicodeError,
        ) as error:
            return _FailedError("the connection failed", quote=str(error))
        return self._masked(completion).reply(attempt, time.monotonic() - begun)

    def _ask(self, pool: ConnectionPool, body: dict[str, Any]) -> _Completion:
        url = parse_url(f"{self._source.url}/chat/completions")
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
            # A server that cannot stream may answer with a single JSON object.
            if body["stream"] and not _header(response, "content-type").startswith(_JSON):
                return _read_stream(pieces, whole=self._source.diffusing)
            return _read_answer(b"".join(pieces))

    def _headers(self) -> list[tuple[str, str]]:
        # No compression: a small answer could otherwise expand to any size in memory.
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
                f"it answered {status} and redirects to another address, which is not followed "
                "because the key must not reach another host; give that address",
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
        # The key is removed before the quote is shortened: half a key would not be recognised.
        quote = " ".join(self._without_key(failed.quote).split())
        shown = "".join(c if c.isprintable() else "\ufffd" for c in quote[:_LONGEST_QUOTE])
        tries = "1 try" if attempts == 1 else f"{attempts} tries"
        reason = f"{failed.why}: {shown}" if shown else failed.why
        sentence = f"{self._source.url} gave no usable reply in {tries}; {reason}"
        completion = failed.completion
        fragment = None if completion is None else self._masked(completion).reply(attempts, seconds)
        raise ServerError(sentence, fragment) from failed

    def _masked(self, completion: _Completion) -> _Completion:
        """Return ``completion`` without the key, which a server may repeat in its reply.

        A key as short as a word could be part of a right answer and is not removed.
        """
        if len(self._key) < _SHORTEST_SECRET:
            return completion

        def masked(text: str | None) -> str | None:
            return None if text is None else self._without_key(text)

        return completion._replace(
            content=masked(completion.content),
            finish=masked(completion.finish),
            reasoning=masked(completion.reasoning),
        )

    def _without_key(self, text: str) -> str:
        return _without(self._key, text)


class _SharedClient:
    """An HTTP connection pool shared by threads; the last thread to leave closes it.

    Closing it while a thread waits for a reply would not wake that thread.  The caller holds a
    lock.

    Attributes:
        pool: HTTP connections.
        allowance: Time and bytes left to the request of the current thread.
        ended: Event that is set when the replies are no longer needed.
        users: Number of threads with a pending request.
    """

    def __init__(self, pool: ConnectionPool, allowance: Allowance, key: str) -> None:
        self.pool = pool
        self.allowance = allowance
        self._mask = _KeyFilter(key)
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


class _KeyFilter(logging.Filter):
    """Removes a key from log records."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _without(self._key, record.getMessage()), ()
        return True


class _FailedError(Exception):
    """One request without a usable reply.

    Args:
        why: Reason, without any text from the server.
        quote: Message of the server or the library; it may contain the key.
        again: True if a retry may succeed.
        after: Seconds that the server asks clients to wait.
        completion: Unusable completion that was received; None for none.
    """

    def __init__(
        self,
        why: str,
        *,
        quote: str = "",
        again: bool = True,
        after: float = 0.0,
        completion: _Completion | None = None,
    ) -> None:
        super().__init__(why)
        self.why = why
        self.quote = quote
        self.again = again
        self.after = after
        self.completion = completion


def _without(key: str, text: str) -> str:
    """Return ``text`` without ``key``, in any form that quoting may have escaped it to."""
    if not key:
        return text
    forms = {key, repr(key)[1:-1], json.dumps(key)[1:-1], urllib.parse.quote(key, safe="")}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "[key]")
    return text


def _advice(quote: str, request: dict[str, Any]) -> str:
    """Return a hint for leaving out the request field that a refusal names; empty if none."""
    named = [name for name in _WITHOUT if re.search(rf"\b{name}\b", quote)]
    field = next((name for name in named if name in request or name == "seed"), None)
    if field is None:
        return ""
    return f" (if the server does not take the field {field}, ask with {_WITHOUT[field]})"


def _seed(key: str) -> int:
    # 31 bits fit the integer type of every server.
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") >> 1


def _pause(attempt: int, requested: float) -> float:
    """Return the seconds to wait after ``attempt``: random, so that threads do not retry at once.

    Source:
        Brooker (2015), "Exponential backoff and jitter", AWS Architecture Blog: full jitter.
    """
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempt - 1))
    return max(random.uniform(0, longest), requested)


def _asked_pause(retry_after: str) -> float:
    """Return the seconds that a ``Retry-After`` header asks for; 0 if it is malformed."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, OverflowError, OSError):
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_ASKED) if math.isfinite(seconds) else 0.0


def _header(response: Response, name: str) -> str:
    """Return the value of the first header called ``name`` (lower case); empty if there is none."""
    values = (value for header, value in response.headers if header.lower() == name.encode())
    return next(values, b"").decode("latin-1")


def _in_bounds(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield ``pieces``; refuse a reply that exceeds the size limit."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > _LARGEST_REPLY:
            raise _FailedError(f"its reply is longer than {_LARGEST_REPLY} bytes", again=False)
        yield piece


class _Completion(NamedTuple):
    """Content of an answer; the fields are those of :class:`~parallelbench.model.Reply`."""

    content: str | None
    finish: str | None
    tokens: int | None
    drafts: int | None
    reasoning: str | None

    @property
    def answer(self) -> str | None:
        """The content after its thinking; None if there is no answer."""
        return None if self.content is None else answer_of(self.content)

    def reply(self, attempts: int, seconds: float) -> Reply:
        """Return the completion as a reply, with empty text if it holds no answer."""
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
    """A message, or the part of it that one stream event adds."""

    content: str | None = None
    refusal: str | None = None
    # Field names of vLLM and SGLang, the newer one first.
    reasoning: Any = None
    reasoning_content: Any = None

    @property
    def thought(self) -> str:
        """The model's thinking, if the server returns it in a separate field."""
        for text in (self.reasoning, self.reasoning_content):
            if text and isinstance(text, str):
                return text
        return ""


class _Choice(BaseModel):
    message: _Words | None = None
    delta: _Words | None = None
    finish_reason: str | None = None


class _Usage(BaseModel):
    completion_tokens: int | None = None


class _Answer(BaseModel):
    """The fields that are read from a complete answer or from a stream event."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None

    @property
    def tokens(self) -> int | None:
        return None if self.usage is None else self.usage.completion_tokens


def _read_answer(body: bytes) -> _Completion:
    answer = _parsed(body.removeprefix(codecs.BOM_UTF8))
    if not answer.choices or answer.choices[0].message is None:
        raise _FailedError("its answer holds no message", quote=_message(body))
    choice, words = answer.choices[0], answer.choices[0].message
    completion = _Completion(
        words.content, choice.finish_reason, answer.tokens, None, words.thought or None
    )
    _refuse_silence(completion, words.refusal)
    return completion


def _read_stream(pieces: Iterable[bytes], *, whole: bool) -> _Completion:
    contents: list[str] = []
    thoughts: list[str] = []
    refusal = finish = tokens = None
    done = False
    for kind, data in _events(pieces):
        if done := data.strip() == b"[DONE]":
            break
        if not data.strip():
            continue  # a keep-alive event
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
    # Servers may omit one of the two; without both the reply is cut off.
    if not done and finish is None:
        raise _FailedError("its stream broke off before the end of the reply")
    # A reply may be empty: the model ended it at once, and no event had content.
    content = "".join(contents) if contents or finish == "stop" else None
    completion = _Completion(content, finish, tokens, None, "".join(thoughts) or None)
    if whole and content is not None:
        completion = _last_draft(contents, completion)
    _refuse_silence(completion, refusal)
    return completion


def _last_draft(contents: Sequence[str], completion: _Completion) -> _Completion:
    # The first and the last event often carry no text and are no drafts.
    drafts = [content for content in contents if content] or [""]
    # Every token has at least one byte, except for the few that are not written.
    if completion.tokens is not None and completion.tokens > len(drafts[-1].encode()) + 8:
        raise _FailedError(
            f"its last draft is shorter than the {completion.tokens} tokens that it counted, so "
            "these are not whole drafts; set diffusing=false",
            quote=drafts[-1],
            again=False,
        )
    return completion._replace(content=drafts[-1], drafts=len(drafts) - 1)


def _refuse_silence(completion: _Completion, refusal: str | None) -> None:
    """Refuse a completion without an answer; a retry would give the same."""
    answer = completion.answer
    # An empty reply is an answer only if the model ended it itself.
    ended = completion.finish in {None, "stop"}
    if answer is not None and (answer or ended) and not refusal:
        return
    details = [f"finish_reason {completion.finish}"] if completion.finish else []
    details += [f"{completion.tokens} tokens"] if completion.tokens is not None else []
    why = "its reply has no content: it refused, or thought too long"
    if completion.content and answer is None:
        why = (
            "its reply has no answer: its thinking has no end (a larger max_tokens leaves room "
            "for it)"
        )
    raise _FailedError(
        "it refused" if refusal else why,
        quote=refusal or ", ".join(details),
        again=False,
        completion=completion,
    )


def _events(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and data of each event in a stream of server-sent events.

    The last event counts even without its empty line, which many servers omit; a reply that is
    cut off is detected by its content.

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
    """Yield the lines of a stream, which end at CR LF, LF or CR only.

    ``str.splitlines`` would also split at characters that JSON allows within a string.
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
    """Return the message of a server's error answer, in any of the usual forms."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")
    for name in ("error", "message", "detail"):
        if isinstance(message, dict) and name in message:
            message = message[name]
    return message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
