"""The operator's requests as they go out, and the answers as they come in."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from queue_processor.adapters.kube import api
from queue_processor.adapters.kube.transport import Answer, JsonObject, Request


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A request and its answer, as both were."""

    query: Mapping[str, str]
    body: JsonObject | None
    answer: Answer

    @property
    def json(self) -> JsonObject:
        """The body of the answer."""
        return api.status_of(self.answer)

    @property
    def refusal(self) -> tuple[int, str, tuple[str, ...]]:
        """Code, reason, and the reasons of the causes."""
        status = self.json
        causes = (status.get("details") or {}).get("causes") or []
        reasons = tuple(cause.get("reason", "") for cause in causes)
        return self.answer.status, status.get("reason", ""), reasons


class Wire:
    """A transport that remembers what went through it.

    Attributes:
        calls: What was asked and answered, without watches.
        watches: The paths of what was watched.
    """

    def __init__(self, transport: api.Transport) -> None:
        self._transport = transport
        self.calls: list[Call] = []
        self.watches: list[str] = []

    @property
    def last(self) -> Call:
        """The last request that was answered."""
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
    """Asks the server to end watches soon; in earnest it is asked for half a minute."""

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
    """Asks for pages of two objects, instead of some hundreds.

    Args:
        transport: The way to the server.
        turn: Changes the continue token of the next page.
    """

    def __init__(
        self, transport: api.Transport, turn: Callable[[str], Awaitable[str]] | None = None
    ) -> None:
        super().__init__(transport)
        self._turn = turn

    async def send(self, request: Request) -> Answer:
        asked = dict(request.query or {})
        if "limit" in asked:
            asked["limit"] = "2"
        if "continue" in asked and self._turn is not None:
            asked["continue"] = await self._turn(asked["continue"])
        return await super().send(dataclasses.replace(request, query=asked))
