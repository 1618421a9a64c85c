"""NO_PROXY as clients in Go read it (golang.org/x/net/http/httpproxy, proxy_test.go)."""

import pytest

from queue_processor import proxies
from queue_processor.domain import errors

PROXY = "http://proxy.test:3128"


def _is_direct(url: str, no_proxy: str) -> bool:
    both = {"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}
    return proxies.proxy_for(url, both) is None


@pytest.mark.parametrize(
    ("url", "no_proxy"),
    [
        ("https://10.100.0.1", "10.0.0.0/8"),
        ("https://10.100.0.1:443", "192.168.0.0/16, 10.100.0.0/16"),
        ("https://[fd00:1::1]", "fd00::/8"),
        ("https://[::ffff:10.0.0.1]", "10.0.0.0/8"),
        ("https://10.1.2.3", "10.200.0.9/8"),
        ("https://192.0.2.1", "192.0.2.1"),
        ("https://192.0.2.1", "192.0.2.1:443"),
        ("https://[2001:db8::1]", "2001:db8::1"),
        ("https://[2001:db8::1]:6443", "[2001:db8::1]:6443"),
        ("https://example.com", "example.com"),
        ("https://api.example.com", "example.com"),
        ("https://api.example.com", ".example.com"),
        ("https://api.example.com", "*.example.com"),
        ("https://api.example.com", "example.com:443"),
        ("http://api.example.com", "example.com:80"),
        ("https://API.example.com", "Example.COM"),
        ("https://anything.test", "*"),
        ("https://anything.test", "other, *"),
        ("https://localhost:6443", ""),
        ("https://127.0.0.1:6443", ""),
        ("https://127.8.8.8", ""),
        ("https://[::1]", ""),
        ("https://kubernetes.default.svc", "nothing,,.svc,"),
    ],
)
def test_an_excluded_server_is_asked_directly(url: str, no_proxy: str) -> None:
    assert _is_direct(url, no_proxy)


@pytest.mark.parametrize(
    ("url", "no_proxy"),
    [
        ("https://11.0.0.1", "10.0.0.0/8"),
        ("https://ten.test", "10.0.0.0/8"),
        ("https://10.0.0.1", "10.0.0.0/99"),
        ("https://[fe80::1]", "10.0.0.0/8"),
        ("https://192.0.2.1:6443", "192.0.2.1:443"),
        ("https://192.0.2.11", "192.0.2.1"),
        ("https://192.0.2.1", "2.1"),
        ("https://example.com", ".example.com"),
        ("https://example.com", "*.example.com"),
        ("https://badexample.com", "example.com"),
        ("https://example.com.evil.test", "example.com"),
        ("https://api.example.com:6443", "example.com:443"),
        ("https://api.example.com", ":443"),
        ("https://api.example.com", "10.0.0.0/8 example.com"),
        ("https://api.example.com", ""),
    ],
)
def test_any_other_server_is_asked_through_the_proxy(url: str, no_proxy: str) -> None:
    assert not _is_direct(url, no_proxy)


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": PROXY}, PROXY),
        ({"HTTPS_PROXY": "", "https_proxy": PROXY}, PROXY),
        ({"HTTPS_PROXY": PROXY, "https_proxy": "http://other"}, PROXY),
        ({"HTTP_PROXY": PROXY}, None),
        ({"ALL_PROXY": PROXY}, None),
        ({"HTTPS_PROXY": "proxy.test:3128"}, PROXY),
        ({"HTTPS_PROXY": "user:secret@proxy.test:3128"}, "http://user:secret@proxy.test:3128"),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "cluster.test"}, None),
        ({}, None),
    ],
)
def test_the_proxy_is_that_of_the_scheme(environment: dict[str, str], proxy: str | None) -> None:
    assert proxies.proxy_for("https://cluster.test", environment) == proxy


def test_a_proxy_that_cannot_be_used_is_named_without_its_credentials() -> None:
    environment = {"HTTPS_PROXY": "socks5://user:secret@proxy.test:1080"}
    with pytest.raises(errors.ConfigurationError, match=r"socks5://proxy\.test:1080") as raised:
        proxies.proxy_for("https://cluster.test", environment)

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("text", ["http://[::1", "http://proxy.test:port", "http://", "://"])
def test_what_is_no_proxy_is_a_configuration_error(text: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="HTTPS_PROXY"):
        proxies.proxy_for("https://cluster.test", {"HTTPS_PROXY": text})
