"""Addresses of servers: which are allowed, which are local, and which proxy leads to them."""

from __future__ import annotations

import contextlib
import ipaddress
import urllib.request

import httpx


def check_url(url: str) -> None:
    """Refuse an address that is no http or https address, or that holds credentials.

    Raises:
        ValueError: Says what is wrong with the address, without showing credentials.
    """
    if "@" in url or "?" in url or "#" in url:
        raise ValueError(
            "url must contain no user, password or query, because they would reach the records (it "
            "is not shown here); put the key into an environment variable: key_env=NAME"
        )
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


def is_loopback(url: str) -> bool:
    """Return True if ``url`` is an address of this machine itself."""
    host = httpx.URL(url).host
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for ``url``; None for a direct connection."""
    parsed = httpx.URL(url)
    proxies = urllib.request.getproxies()
    address = proxies.get(parsed.scheme) or proxies.get("all")
    # A proxy cannot reach this machine's own loopback addresses.
    if not address or is_loopback(url) or _is_exempt(parsed, proxies.get("no", "")):
        return None
    return address if "://" in address else f"http://{address}"


def _is_exempt(url: httpx.URL, exempt: str) -> bool:
    """Return True if NO_PROXY names the host of ``url``, its domain or its network."""
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
