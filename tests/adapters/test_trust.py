"""TLS to the API server, with the certificates that clusters have."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import pathlib
import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kubernetes.aio import client

from queue_processor.adapters.kube import transport
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.transport import HttpTransport
from queue_processor.domain import errors
from tests.adapters.scripted import http

_DAY = dt.timedelta(days=1)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """An authority as old tools made them: no certificate has a key identifier."""

    def __init__(self, folder: pathlib.Path, name: str = "kubernetes") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self.path = folder / f"{name}.crt"
        certificate = self._sign(self._builder(self._name, self._key.public_key(), is_ca=True))
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server_context(self, address: str) -> ssl.SSLContext:
        """The context of a server that has a certificate for an address."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        builder = self._builder(_name("server"), key.public_key(), is_ca=False)
        certificate = self._sign(builder.add_extension(names, critical=False))
        path = self.path.with_name("server.pem")
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(path)
        return context

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, is_ca: bool
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        constraints = x509.BasicConstraints(ca=is_ca, path_length=None)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _DAY)
            .add_extension(constraints, critical=True)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256())


@contextlib.asynccontextmanager
async def serving(context: ssl.SSLContext, body: bytes = b"{}") -> AsyncIterator[str]:
    """Answer each request with this body for as long as this lasts; the URL of the server."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(http(200, body))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture(autouse=True)
def _strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make contexts as Python 3.13 does, whatever the version at hand."""
    create = ssl.create_default_context

    def create_strictly(
        purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH,
        *,
        cafile: str | None = None,
        cadata: str | None = None,
    ) -> ssl.SSLContext:
        context = create(purpose, cafile=cafile, cadata=cadata)
        if purpose is ssl.Purpose.SERVER_AUTH:
            context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        return context

    monkeypatch.setattr(ssl, "create_default_context", create_strictly)


def transport_to(url: str, authority: Authority) -> HttpTransport:
    """Return a transport that trusts an authority, and no other."""
    configuration = client.Configuration(host=url)
    configuration.ssl_ca_cert = str(authority.path)
    return HttpTransport(configuration)


async def _get(url: str, authority: Authority) -> None:
    requests = transport_to(url, authority)
    try:
        await KubeApi(requests).get("/version")
    finally:
        await requests.close()


async def test_an_authority_without_key_identifiers_is_trusted(tmp_path: pathlib.Path) -> None:
    authority = Authority(tmp_path)
    async with serving(authority.server_context("127.0.0.1")) as url:
        await _get(url, authority)


async def test_a_strict_context_would_refuse_that_authority(tmp_path: pathlib.Path) -> None:
    authority = Authority(tmp_path)
    strict = ssl.create_default_context(cafile=str(authority.path))
    async with (
        serving(authority.server_context("127.0.0.1")) as url,
        aiohttp.ClientSession() as session,
    ):
        with pytest.raises(aiohttp.ClientConnectorCertificateError, match="Key Identifier"):
            await session.get(url, ssl=strict)


async def test_kopf_trusts_the_same_authority(tmp_path: pathlib.Path) -> None:
    authority = Authority(tmp_path)
    async with (
        serving(authority.server_context("127.0.0.1")) as url,
        transport_to(url, authority).open_session() as session,
        session.get(f"{url}/version") as response,
    ):
        assert response.status == 200


async def test_another_authority_is_refused(tmp_path: pathlib.Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    async with serving(authority.server_context("127.0.0.1")) as url:
        with pytest.raises(errors.TemporaryError, match="CERTIFICATE_VERIFY_FAILED"):
            await _get(url, other)


async def test_a_certificate_for_another_address_is_refused(tmp_path: pathlib.Path) -> None:
    authority = Authority(tmp_path)
    async with serving(authority.server_context("192.0.2.1")) as url:
        with pytest.raises(errors.TemporaryError, match="CERTIFICATE_VERIFY_FAILED"):
            await _get(url, authority)


def test_only_the_strict_flag_is_taken_off(tmp_path: pathlib.Path) -> None:
    authority = Authority(tmp_path)
    default = ssl.create_default_context()
    configuration = client.Configuration(host="https://127.0.0.1")
    configuration.ssl_ca_cert = str(authority.path)
    trust = transport.trust_of(configuration)

    assert trust.verify_flags == default.verify_flags & ~ssl.VERIFY_X509_STRICT
    assert (trust.verify_mode, trust.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (trust.options, trust.minimum_version) == (default.options, default.minimum_version)
