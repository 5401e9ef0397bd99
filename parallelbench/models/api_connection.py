"""Connections to servers that may be slow, endless or hostile.

A limit on each silence is no limit on a request: who sends one byte in each second may take for
ever.  Here a request has one deadline and one allowance of bytes, from the first byte sent to the
last one read, whatever the bytes are: status line, headers, interim responses, body, extensions
of chunks, trailers.  Single header blocks and chunk headers are bounded by h11 (100 KiB).

Source: RFC 9112, sections 4, 5, 6.3 and 7.1, on what may precede and follow a body; httpcore,
"Network Backends".
"""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore
import httpx


class TooManyBytesError(Exception):
    """A server sent more bytes for one request than its allowance."""


class Allowance(threading.local):
    """What the request of the current thread may still take; without a request, anything.

    Attributes:
        until: When it must have ended, in seconds of ``time.monotonic``.
        received: Bytes that may still come.
    """

    def __init__(self) -> None:
        self.until = math.inf
        self.received: float = math.inf

    @contextlib.contextmanager
    def of(self, seconds: float, received: int) -> Iterator[None]:
        """Grant ``seconds`` and ``received`` bytes to what this thread does within."""
        self.until = time.monotonic() + seconds
        self.received = received
        try:
            yield
        finally:
            self.until = self.received = math.inf

    def seconds(self, timeout: float | None, late: type[Exception]) -> float | None:
        """Return the seconds that one operation may take: ``timeout`` or what is left.

        Raises:
            Exception: ``late``, since nothing is left.
        """
        left = self.until - time.monotonic()
        if left <= 0:
            raise late("the request has taken all its time")
        least = min(left, math.inf if timeout is None else timeout)
        return None if least == math.inf else least

    def take(self, received: int) -> None:
        """Count ``received`` bytes.

        Raises:
            TooManyBytesError: They are more than were left.
        """
        self.received -= received
        if self.received < 0:
            raise TooManyBytesError


class _Stream(httpcore.NetworkStream):
    """A connection each of whose operations is held to the allowance of its thread."""

    def __init__(self, stream: httpcore.NetworkStream, allowance: Allowance) -> None:
        self._stream = stream
        self._allowance = allowance

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        seconds = self._allowance.seconds(timeout, httpcore.ReadTimeout)
        data = self._stream.read(max_bytes, seconds)
        self._allowance.take(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # Piece by piece: within one call each piece that the server takes has the whole time.
        for start in range(0, len(buffer), _PIECE):
            seconds = self._allowance.seconds(timeout, httpcore.WriteTimeout)
            self._stream.write(buffer[start : start + _PIECE], seconds)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        seconds = self._allowance.seconds(timeout, httpcore.ConnectTimeout)
        stream = self._stream.start_tls(ssl_context, server_hostname, seconds)
        return _Stream(stream, self._allowance)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


#: Bytes that are written at a time.
_PIECE = 64 * 1024


class _Backend(httpcore.NetworkBackend):
    """Connects within the allowance of its thread, however many addresses a host has."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failed: httpcore.NetworkError | httpcore.TimeoutException | None = None
        for address in _addresses(host, port):
            seconds = self._allowance.seconds(timeout, httpcore.ConnectTimeout)
            try:
                stream = self._backend.connect_tcp(
                    address, port, seconds, local_address, socket_options
                )
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                failed = error
            else:
                return _Stream(stream, self._allowance)
        raise failed or httpcore.ConnectError(f"{host} has no address")


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
    return [str(address[0]) for *_, address in found]


def connections(proxy: str | None, most: int, allowance: Allowance) -> httpcore.ConnectionPool:
    """Return connections for ``most`` requests at a time, held to ``allowance``.

    Args:
        proxy: Address of the proxy to ask through, user and password included; None for none.
        most: Connections at a time, kept open between requests.
        allowance: Of the request that a thread makes.

    Raises:
        ValueError: ``proxy`` is no address of a proxy; so does httpx.InvalidURL.
        RuntimeError: Such a proxy needs a package that is not installed.
        OSError: The certificates that the environment names cannot be read.
    """
    options: dict[str, Any] = {
        "ssl_context": httpx.create_ssl_context(),
        "max_connections": most,
        "max_keepalive_connections": most,
        "keepalive_expiry": _LONGEST_IDLE,
        "network_backend": _Backend(allowance),
    }
    if proxy is None:
        return httpcore.ConnectionPool(**options)
    through = httpx.Proxy(proxy)
    socks = through.url.scheme.startswith("socks5")
    kind: Any = httpcore.SOCKSProxy if socks else httpcore.HTTPProxy
    address = parsed(str(through.url))
    pool: httpcore.ConnectionPool = kind(address, proxy_auth=through.raw_auth, **options)
    return pool


#: Seconds that a connection without a request is kept.
_LONGEST_IDLE = 5.0


def parsed(url: str) -> httpcore.URL:
    """Return ``url`` with its host as it is sent: names in other scripts become ASCII.

    Raises:
        ValueError: It cannot be read; so does httpx.InvalidURL.
    """
    given = httpx.URL(url)
    return httpcore.URL(
        scheme=given.raw_scheme, host=given.raw_host, port=given.port, target=given.raw_path
    )
