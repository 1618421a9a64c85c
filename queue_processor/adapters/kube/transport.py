"""The way to the API server: where it is, who we are, and HTTP, by the official client."""

import contextlib
import dataclasses
import http
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import aiohttp
import orjson
from kubernetes.aio import client, config
from kubernetes.aio.client import rest

from queue_processor import proxies
from queue_processor.adapters.kube import tls_buffers
from queue_processor.domain import errors

JsonObject: TypeAlias = dict[str, Any]

_OK = 200
_SUCCESS_CLASS = 2
_CONNECT_SECONDS = 3.0
REQUEST_SECONDS = 10.0
_STREAM_SILENCE_SECONDS = 5.0
# A watch event is one line, and an object may have up to 1.5 MiB.
_LONGEST_LINE = 2 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A request to the API server.

    Attributes:
        limit_seconds: Until when the whole answer has to be there.
    """

    method: str
    path: str
    _: dataclasses.KW_ONLY
    query: Mapping[str, str] | None = None
    body: JsonObject | Sequence[JsonObject] | None = None
    content_type: str = "application/json"
    limit_seconds: float = REQUEST_SECONDS


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """A response of the API server: status, headers and the unread body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        """True for a status of 2xx."""
        return self.status // 100 == _SUCCESS_CLASS


class HttpTransport:
    """Requests over HTTP, with the trust and the token of the client's configuration.

    The session is ours: that of the client asks ~/.netrc and the proxy settings before every
    request, which takes as long as the request itself.
    """

    def __init__(
        self,
        configuration: client.Configuration,
        *,
        renew_credentials: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Open no connection yet.

        Args:
            configuration: Server, trust and credentials.
            renew_credentials: Reads the credentials again, after the server refused them.
        """
        self.configuration = configuration
        self._renew_credentials = renew_credentials
        self._trust = trust_of(configuration)
        # As for kubectl, the proxy-url of a kubeconfig comes first.
        if configuration.proxy:
            proxy: str | None = proxies.checked(configuration.proxy, source="proxy-url")
        else:
            proxy = proxies.proxy_for(configuration.host)
        # Errors of aiohttp have the URL of the proxy, so it must not have the credentials.
        self._proxy = None if proxy is None else proxies.shown(proxy)
        self._proxy_login = None if proxy is None else proxies.credentials_of(proxy)
        # Of requests for one object, and of lists and watches: a connection keeps a buffer for the
        # largest answer that it had, and there are as many of the former as there are slots.
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def send(self, request: Request) -> Answer:
        """Send one request and read the whole answer.

        Raises:
            TemporaryError: No answer came: refused, cut off, or not within the limit.
        """
        limits = aiohttp.ClientTimeout(total=request.limit_seconds, sock_connect=_CONNECT_SECONDS)
        with self._translated(f"{request.method} {request.path}"):
            response = await self._open(request, limits)
            return Answer(response.status, response.headers, await response.read())

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, str], server_timeout_seconds: int
    ) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        """Open a watch: the head of the answer, and its lines as they come.

        Args:
            path: What is watched.
            query: The query, without the timeout.
            server_timeout_seconds: When the server ends the watch. A connection that is
                silent for longer than that is dead.

        Raises:
            TemporaryError: The connection failed, or was cut.
        """
        limits = aiohttp.ClientTimeout(
            total=None,
            sock_connect=_CONNECT_SECONDS,
            sock_read=server_timeout_seconds + _STREAM_SILENCE_SECONDS,
        )
        query = {**query, "timeoutSeconds": str(server_timeout_seconds)}
        call = f"watch {path}"
        with self._translated(call):
            response = await self._open(Request("GET", path, query=query), limits)
        try:
            with self._translated(call):
                body = b"" if response.status == _OK else await response.read()
            yield Answer(response.status, response.headers, body), self._lines(response, call)
        finally:
            response.close()

    async def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()

    async def _open(
        self, request: Request, limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        is_small = request.query is None
        if is_small not in self._sessions:
            self._sessions[is_small] = self.open_session()
        return await self._sessions[is_small].request(
            request.method,
            self.configuration.host + request.path,
            params=request.query,
            data=None if request.body is None else orjson.dumps(request.body),
            headers={"Content-Type": request.content_type},
            timeout=limits,
            allow_redirects=False,
        )

    def open_session(self, *middlewares: aiohttp.ClientMiddlewareType) -> aiohttp.ClientSession:
        """Return a new session whose requests find the server, trust it, and are authorized.

        Args:
            middlewares: See each request first, and its response last.
        """
        return aiohttp.ClientSession(
            # Bounded by the limiter before requests.
            connector=aiohttp.TCPConnector(limit=0, ssl=self._trust),
            headers={"Accept": "application/json", "User-Agent": "queue-processor"},
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_LONGEST_LINE,
            proxy=self._proxy,
            middlewares=(*middlewares, self._authorized, _with_large_buffer),
        )

    async def _authorized(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request with the token of the moment; once more if a new one replaces it."""
        request.server_hostname = self.configuration.tls_server_name or None
        if self._proxy_login is not None:
            _authorize_at_proxy(request, *self._proxy_login)
        token = await self._authorize(request)
        response = await send(request)
        if response.status != http.HTTPStatus.UNAUTHORIZED or self._renew_credentials is None:
            return response
        await self._renew_credentials()
        if await self._authorize(request) == token:
            return response
        response.close()
        return await send(request)

    async def _authorize(self, request: aiohttp.ClientRequest) -> str | None:
        try:
            token = await self.configuration.get_api_key_with_prefix(
                "BearerToken", alias="authorization"
            )
        except (config.ConfigException, OSError) as cause:
            # The file with the token may be in the making.
            raise aiohttp.ClientConnectionError(f"no token: {cause}") from cause
        if token:
            request.headers["Authorization"] = token
        return token

    async def _lines(self, response: aiohttp.ClientResponse, call: str) -> AsyncIterator[bytes]:
        with self._translated(call):
            async for line in response.content:
                yield line

    @contextlib.contextmanager
    def _translated(self, call: str) -> Iterator[None]:
        try:
            yield
        except (aiohttp.ClientError, OSError, TimeoutError) as cause:
            what = str(cause) or type(cause).__name__
            way = f" (through the proxy {self._proxy})" if self._proxy else ""
            raise errors.TemporaryError(f"{call}: {what}{way}") from cause


def trust_of(configuration: client.Configuration) -> ssl.SSLContext:
    """Return how the server is verified, and our certificate if we have one.

    Since Python 3.13 the default refuses certificates that do not follow RFC 5280 to the letter.
    The authorities of many clusters, made by older tools, lack a key identifier; kubectl accepts
    them.
    https://docs.python.org/3/library/ssl.html#ssl.create_default_context
    """
    context: ssl.SSLContext = rest.RESTClientObject(configuration).ssl_context
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


async def _with_large_buffer(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send a request; what has a query is a list or a watch, and its answer is long."""
    response = await send(request)
    if request.url.query_string and response.connection is not None:
        tls_buffers.enlarge(response.connection.transport)
    return response


def _authorize_at_proxy(request: aiohttp.ClientRequest, user: str, password: str) -> None:
    """Add the credentials to the request for a tunnel, or to the request that the proxy passes."""
    authorization = {"Proxy-Authorization": aiohttp.encode_basic_auth(user, password)}
    if request.is_ssl():
        request.update_proxy(request.proxy, None, authorization)
    else:
        request.headers.update(authorization)
