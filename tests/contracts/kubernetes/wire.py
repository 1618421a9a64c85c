"""Transports that record the operator's requests and the responses."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from queue_processor.adapters.kube import api
from queue_processor.adapters.kube.transport import Answer, JsonObject, Request


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A request and its response."""

    query: Mapping[str, str]
    body: JsonObject | Sequence[JsonObject] | None
    answer: Answer

    @property
    def sent(self) -> JsonObject:
        """Return the object that the request carried."""
        assert isinstance(self.body, dict)
        return self.body

    @property
    def json(self) -> JsonObject:
        """Return the body of the response."""
        return api.status_of(self.answer)

    @property
    def refusal(self) -> tuple[int, str, tuple[str, ...]]:
        """Return code, reason, and the reasons of the causes."""
        status = self.json
        causes = (status.get("details") or {}).get("causes") or []
        reasons = tuple(cause.get("reason", "") for cause in causes)
        return self.answer.status, status.get("reason", ""), reasons


class Wire:
    """A transport that records requests.

    Attributes:
        calls: Requests with their responses, without watches.
        watches: The paths of the watches.
    """

    def __init__(self, transport: api.Transport) -> None:
        self._transport = transport
        self.calls: list[Call] = []
        self.watches: list[str] = []

    @property
    def last(self) -> Call:
        """Return the last request that got a response."""
        return self.calls[-1]

    async def send(self, request: Request) -> Answer:
        answer = await self._transport.send(request)
        self.calls.append(Call(request.query or {}, request.body, answer))
        return answer

    def stream(
        self, path: str, *, query: Mapping[str, str], server_timeout_seconds: int
    ) -> contextlib.AbstractAsyncContextManager[tuple[Answer, AsyncIterator[bytes]]]:
        self.watches.append(path)
        return self._transport.stream(
            path, query=query, server_timeout_seconds=server_timeout_seconds
        )


class ShortWatches(Wire):
    """Shortens watches from half a minute."""

    def __init__(self, transport: api.Transport, *, seconds: int) -> None:
        super().__init__(transport)
        self._seconds = seconds

    def stream(
        self, path: str, *, query: Mapping[str, str], server_timeout_seconds: int
    ) -> contextlib.AbstractAsyncContextManager[tuple[Answer, AsyncIterator[bytes]]]:
        return super().stream(
            path, query=query, server_timeout_seconds=min(self._seconds, server_timeout_seconds)
        )


class SmallPages(Wire):
    """Shrinks pages from some hundreds of objects to two.

    Args:
        transport: Sends the requests.
        rewrite_token: Changes the continue token of the next page.
    """

    def __init__(
        self, transport: api.Transport, rewrite_token: Callable[[str], Awaitable[str]] | None = None
    ) -> None:
        super().__init__(transport)
        self._rewrite_token = rewrite_token

    async def send(self, request: Request) -> Answer:
        query = dict(request.query or {})
        if "limit" in query:
            query["limit"] = "2"
        if "continue" in query and self._rewrite_token is not None:
            query["continue"] = await self._rewrite_token(query["continue"])
        return await super().send(dataclasses.replace(request, query=query))
