"""Connections to servers that may be slow, endless or hostile.

A timeout per read does not limit a request: a server that sends one byte per second could take
forever.  Here a request has one deadline and one limit of bytes, from the first byte sent to the
last byte read, including status line, headers, interim responses, body, chunk extensions and
trailers.  Single header blocks and chunk headers are limited by h11 (100 KiB).

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
    """Time and bytes left to the current thread's request; unlimited without a request.

    Attributes:
        until: Deadline, in seconds of ``time.monotonic``.
        received: Number of bytes that may still be received.
    """

    def __init__(self) -> None:
        self.until = math.inf
        self.received: float = math.inf

    @contextlib.contextmanager
    def of(self, seconds: float, received: int) -> Iterator[None]:
        """Context that limits this thread to ``seconds`` and ``received`` bytes."""
        self.until = time.monotonic() + seconds
        self.received = received
        try:
            yield
        finally:
            self.until = self.received = math.inf

    def seconds(self, timeout: float | None, late: type[Exception]) -> float | None:
        """Return the limit of one operation, in seconds: ``timeout`` or the time left.

        Raises:
            Exception: ``late``, if no time is left.
        """
        left = self.until - time.monotonic()
        if left <= 0:
            raise late("the request exceeded its time limit")
        least = min(left, math.inf if timeout is None else timeout)
        return None if least == math.inf else least

    def take(self, received: int) -> None:
        """Count ``received`` bytes.

        Raises:
            TooManyBytesError: They exceed the limit.
        """
        self.received -= received
        if self.received < 0:
            raise TooManyBytesError


class _Stream(httpcore.NetworkStream):
    """A connection whose operations are limited by the allowance of their thread."""

    def __init__(self, stream: httpcore.NetworkStream, allowance: Allowance) -> None:
        self._stream = stream
        self._allowance = allowance

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        seconds = self._allowance.seconds(timeout, httpcore.ReadTimeout)
        data = self._stream.read(max_bytes, seconds)
        self._allowance.take(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # In pieces: within one call, each piece that the server accepts renews the timeout.
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


#: Bytes per write.
_PIECE = 64 * 1024


class _Backend(httpcore.NetworkBackend):
    """Connects within the allowance of its thread, for any number of addresses."""

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
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
    return [str(address[0]) for *_, address in addresses]


def connections(proxy: str | None, most: int, allowance: Allowance) -> httpcore.ConnectionPool:
    """Return a pool of ``most`` connections, limited by ``allowance``.

    Args:
        proxy: Address of a proxy, with user and password; None for none.
        most: Maximum number of connections, kept open between requests.
        allowance: Time and bytes left to the request of a thread.

    Raises:
        ValueError: ``proxy`` is not an address of a proxy; httpx.InvalidURL means the same.
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
    address = parse_url(str(through.url))
    pool: httpcore.ConnectionPool = kind(address, proxy_auth=through.raw_auth, **options)
    return pool


#: Seconds until an idle connection is closed.
_LONGEST_IDLE = 5.0


def parse_url(url: str) -> httpcore.URL:
    """Parse ``url``; a host name in another script becomes ASCII.

    Raises:
        ValueError: It cannot be parse_url; httpx.InvalidURL means the same.
    """
    given = httpx.URL(url)
    return httpcore.URL(
        scheme=given.raw_scheme, host=given.raw_host, port=given.port, target=given.raw_path
    )
