"""Verbs on the Kubernetes API, as raw JSON, and what its statuses mean to us.

https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import http
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import orjson

from queue_processor.adapters.kube.transport import REQUEST_SECONDS, Answer, JsonObject, Request
from queue_processor.domain import errors
from queue_processor.observability import metrics

STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"

# A Node of EKS has some 15 KiB of JSON, and ten times that while it is read.
_PAGE = 200
# A page of Nodes is several MiB, which a busy API server takes seconds to write.
_PAGE_SECONDS = 30.0
# A watch whose server is gone is silent; this bounds for how long.
_WATCH_SECONDS = 30
# A request may serve drains with different deadlines; none may lose more time than this.
_LONGEST_RETRY_AFTER = dt.timedelta(seconds=30)
_STATUSES = frozenset(http.HTTPStatus)
_TEMPORARY = frozenset(
    {
        http.HTTPStatus.UNAUTHORIZED,  # the token is renewed before the next attempt
        http.HTTPStatus.REQUEST_TIMEOUT,
        http.HTTPStatus.TOO_MANY_REQUESTS,
    }
)
_ERRORS: Mapping[int, type[errors.QueueProcessorError]] = {
    http.HTTPStatus.FORBIDDEN: errors.Forbidden,
    http.HTTPStatus.NOT_FOUND: errors.NotFound,
    http.HTTPStatus.CONFLICT: errors.Conflict,
    http.HTTPStatus.GONE: errors.WatchExpired,
}


@dataclasses.dataclass(frozen=True, slots=True)
class ServerVersion:
    """The version of the API server, and the `Date` of its answer; empty if there is none."""

    version: str
    date: str


class Transport(Protocol):
    """Sends requests; the real one by HTTP."""

    async def send(self, request: Request) -> Answer:
        """Send one request and read the whole answer."""

    def stream(
        self, path: str, *, query: Mapping[str, str], server_timeout_seconds: int
    ) -> AbstractAsyncContextManager[tuple[Answer, AsyncIterator[bytes]]]:
        """Open a watch."""


class KubeApi:
    """Requests that answer with an object, or raise what went wrong in our own terms.

    Every method raises TemporaryError, PermanentError, NotFound (404) or Conflict (409).
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def version(self) -> ServerVersion:
        """Read the version of the API server, which anyone may whom it has authenticated."""
        request = Request("GET", "/version")
        answer = await self._send(request)
        version = _read(answer, f"GET {request.path}").get("gitVersion")
        return ServerVersion(version=str(version), date=answer.headers.get("Date", ""))

    async def get(self, path: str) -> JsonObject:
        """Read an object."""
        return await self._object(Request("GET", path))

    async def post(self, path: str, body: JsonObject) -> JsonObject:
        """Create an object."""
        return await self._object(Request("POST", path, body=body))

    async def put(self, path: str, body: JsonObject) -> JsonObject:
        """Replace an object."""
        return await self._object(Request("PUT", path, body=body))

    async def patch(
        self,
        path: str,
        body: JsonObject | Sequence[JsonObject],
        *,
        content_type: str = STRATEGIC_MERGE_PATCH,
    ) -> JsonObject:
        """Change an object; a JSON patch is a sequence of operations."""
        return await self._object(Request("PATCH", path, body=body, content_type=content_type))

    async def delete(self, path: str, body: JsonObject) -> JsonObject:
        """Delete an object, with the DeleteOptions in `body`."""
        return await self._object(Request("DELETE", path, body=body))

    async def ask(
        self, path: str, body: JsonObject, *, limit_seconds: float = REQUEST_SECONDS
    ) -> Answer:
        """Post something whose refusals mean something; raises TemporaryError only."""
        return await self._send(Request("POST", path, body=body, limit_seconds=limit_seconds))

    async def list(
        self, path: str, *, query: Mapping[str, str], limit_seconds: float = REQUEST_SECONDS
    ) -> JsonObject:
        """List a small collection in one request.

        Raises:
            TemporaryError: The answer is not a list, so it shows neither items nor their absence.
        """
        request = Request("GET", path, query=query, limit_seconds=limit_seconds)
        listed = await self._object(request, verb="LIST")
        # Go writes a list without items as null.
        items, metadata = listed.get("items") or [], listed.get("metadata")
        is_list = isinstance(items, list) and isinstance(metadata, dict)
        if "items" not in listed or not is_list:
            raise errors.TemporaryError(f"LIST {path}: the answer is no list")
        return {**listed, "items": items}

    async def pages(
        self, path: str, *, query: Mapping[str, str] | None = None
    ) -> AsyncIterator[JsonObject]:
        """List a collection, page by page; the time is limited for each page, not in all.

        A page is empty once the next one has been asked for.

        Raises:
            WatchExpired: The list took so long that its version is not kept any more.
        """
        continuation: dict[str, str] = {}
        while True:
            paged = {**(query or {}), "limit": str(_PAGE), **continuation}
            if continuation:
                # A continued list is of the version that its token names.
                paged.pop("resourceVersion", None)
            page = await self.list(path, query=paged, limit_seconds=_PAGE_SECONDS)
            token = page["metadata"].get("continue")
            yield page
            # It takes megabytes, and the caller still has it while the next one is on its way.
            page.clear()
            if not token:
                return
            continuation = {"continue": token}

    @contextlib.asynccontextmanager
    async def watch(
        self, path: str, *, query: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[JsonObject]]:
        """Follow a collection; each item is a watch event with `type` and `object`.

        Raises:
            WatchExpired: The version is too old: list again.
        """
        query = {**query, "watch": "true", "allowWatchBookmarks": "true"}
        opening = self._transport.stream(path, query=query, server_timeout_seconds=_WATCH_SECONDS)
        async with contextlib.AsyncExitStack() as stack:
            with _counted(metrics.Method.WATCH) as count:
                head, lines = await stack.enter_async_context(opening)
                count(head)
            if head.status != http.HTTPStatus.OK:
                raise error_of(head, f"WATCH {path}")
            yield _events(lines, path)

    async def _object(self, request: Request, *, verb: str | None = None) -> JsonObject:
        """Send a request that an object answers; its faults name the verb, or else the method."""
        answer = await self._send(request)
        return _read(answer, f"{verb or request.method} {request.path}")

    async def _send(self, request: Request) -> Answer:
        with _counted(metrics.Method(request.method.lower())) as count:
            answer = await self._transport.send(request)
            count(answer)
        return answer


@contextlib.contextmanager
def _counted(method: metrics.Method) -> Iterator[Callable[[Answer], None]]:
    """Count a request by what is answered, or as one without an answer."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()

    def count(answer: Answer) -> None:
        metrics.KUBERNETES_REQUEST_SECONDS.labels(method=method).observe(loop.time() - began_at)
        code = str(answer.status) if answer.status in _STATUSES else metrics.OTHER_CODE
        metrics.KUBERNETES_REQUESTS.labels(method=method, code=code).inc()

    try:
        yield count
    except errors.TemporaryError:
        metrics.KUBERNETES_REQUESTS.labels(method=method, code=metrics.NO_ANSWER).inc()
        raise


async def _events(lines: AsyncIterator[bytes], path: str) -> AsyncIterator[JsonObject]:
    async for line in lines:
        event = _loaded(line, f"WATCH {path}")
        if event.get("type") == "ERROR":
            status = event.get("object", {})
            if status.get("code") == http.HTTPStatus.GONE:
                raise errors.WatchExpired(str(status.get("message")))
            raise errors.TemporaryError(f"WATCH {path}: {status.get('message')}")
        yield event


def _read(answer: Answer, call: str) -> JsonObject:
    if not answer.is_success:
        raise error_of(answer, call)
    return _loaded(answer.body, call)


def _loaded(text: bytes, call: str) -> JsonObject:
    """Read an object; what is none comes from a proxy, or was cut off."""
    try:
        loaded = orjson.loads(text)
    except ValueError as cause:
        raise errors.TemporaryError(f"{call}: the answer is not JSON") from cause
    if not isinstance(loaded, dict):
        raise errors.TemporaryError(f"{call}: the answer is no object")
    return loaded


def ready_condition(body: JsonObject) -> JsonObject:
    """Return the condition Ready of a Node or a Pod; empty without one."""
    conditions: list[JsonObject] = (body.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == "Ready"), {})


def version_of(listed: JsonObject) -> str:
    """Return the version of a list, which a watch goes on from.

    Raises:
        TemporaryError: It has none.
    """
    version = listed["metadata"].get("resourceVersion")
    if not isinstance(version, str):
        raise errors.TemporaryError("the answer is no list that a watch can go on from")
    return version


def error_of(answer: Answer, call: str) -> errors.QueueProcessorError:
    """Translate a refusal, with the API server's own words."""
    message = f"{call}: {answer.status} {message_of(answer)}"
    retry_after = retry_after_of(answer)
    match answer.status:
        case status if status in _ERRORS:
            return _ERRORS[status](message)
        # API Priority and Fairness always names a time; webhooks that say no with a 429 do not.
        case http.HTTPStatus.TOO_MANY_REQUESTS if retry_after is not None:
            return errors.Throttled(message, retry_after=retry_after)
        case status if status in _TEMPORARY or status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            return errors.TemporaryError(message, retry_after=retry_after)
        case _:
            return errors.PermanentError(message)


def status_of(answer: Answer) -> JsonObject:
    """Return the Status object in the body; empty when there is none."""
    try:
        status = orjson.loads(answer.body)
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}


def message_of(answer: Answer) -> str:
    """Return the API server's own words about its refusal."""
    return str(status_of(answer).get("message") or answer.body[:200].decode(errors="replace"))


def retry_after_of(answer: Answer) -> dt.timedelta | None:
    """Return the pause that the API server asks for, within what a drain can afford."""
    pause = errors.parse_retry_after(answer.headers.get("Retry-After", ""))
    return None if pause is None else min(pause, _LONGEST_RETRY_AFTER)
