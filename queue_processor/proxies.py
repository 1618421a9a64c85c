"""The proxy for a URL, by HTTP_PROXY, HTTPS_PROXY and NO_PROXY as clients in Go read them.

Python's own reading, and aiohttp's, know no CIDRs: with `NO_PROXY=10.0.0.0/8` they ask a proxy for
the API server, where kubectl and the kubelet next to us do not. There is no standard. The rules are
those of https://pkg.go.dev/golang.org/x/net/http/httpproxy, but for `REQUEST_METHOD` (CGI).
"""

import ipaddress
import os
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from queue_processor.domain import errors

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_DEFAULT_PORTS = {"http": "80", "https": "443"}
_GO_SCHEMES = frozenset({"http", "https", "socks5", "socks5h"})
_SUPPORTED = frozenset({"http", "https"})


def proxy_for(url: str, environment: Mapping[str, str] | None = None) -> str | None:
    """Return the URL of the proxy for a URL; None for a direct connection.

    Raises:
        ConfigurationError: The proxy is of a kind that we cannot use.
    """
    environment = os.environ if environment is None else environment
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname or "", str(parts.port or _DEFAULT_PORTS.get(parts.scheme, ""))
    variable = f"{parts.scheme}_proxy"
    proxy = _read(environment, variable) if parts.scheme in _DEFAULT_PORTS else ""
    if not proxy or _is_excluded(host, port, _read(environment, "no_proxy")):
        return None
    return checked(proxy, source=variable.upper())


def checked(proxy: str, *, source: str) -> str:
    """Return the URL of a proxy; without a scheme it is an HTTP proxy.

    Raises:
        ConfigurationError: The proxy is of a kind that we cannot use.
    """
    if proxy.partition("://")[0] not in _GO_SCHEMES:
        proxy = f"http://{proxy}"
    try:
        parts = urllib.parse.urlsplit(proxy)
        is_usable = parts.scheme in _SUPPORTED and bool(parts.hostname) and parts.port != 0
    except ValueError as cause:
        raise errors.ConfigurationError(f"{source}: not the URL of a proxy") from cause
    if not is_usable:
        raise errors.ConfigurationError(
            f"{source}: {shown(proxy)}: only http and https proxies are supported"
        )
    return proxy


def shown(proxy: str) -> str:
    """Return the URL of a proxy without its credentials."""
    parts = urllib.parse.urlsplit(proxy)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def credentials_of(proxy: str) -> tuple[str, str] | None:
    """Return user and password in the URL of a proxy."""
    parts = urllib.parse.urlsplit(proxy)
    if parts.username is None:
        return None
    return urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or "")


def _read(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name.upper()) or environment.get(name) or ""


def _is_excluded(host: str, port: str, no_proxy: str) -> bool:
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_matches(entry, host, port, address) for entry in _entries(no_proxy))


def _entries(no_proxy: str) -> Iterator[str]:
    for entry in no_proxy.split(","):
        if stripped := entry.strip().lower():
            yield stripped


def _matches(entry: str, host: str, port: str, address: _Address | None) -> bool:
    """Return True if an entry of NO_PROXY is about a host: `*`, a CIDR, an IP, or a domain."""
    if entry == "*":
        return True
    if "/" in entry:
        return address is not None and _contains(entry, address)
    name, entry_port = _split(entry)
    if not name or entry_port not in ("", port):
        return False
    if (entry_address := _address(name)) is not None:
        return address == entry_address
    if address is not None:
        return False
    name = name.removeprefix("*")
    # `.example.com` is about subdomains only.
    return host.endswith(name if name.startswith(".") else f".{name}") or host == name


def _contains(cidr: str, address: _Address) -> bool:
    try:
        return address in ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return False


def _split(entry: str) -> tuple[str, str]:
    """Split a host and its port; an IPv6 address with a port is in brackets."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, rest.removeprefix(":")
    if entry.count(":") == 1:
        host, _, port = entry.partition(":")
        return host, port
    return entry, ""


def _address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
