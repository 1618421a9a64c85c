"""Looks at what is in a cluster, whichever it is."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeVar

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.domain import errors
from tests.cluster.manifests import JsonObject

_Seen = TypeVar("_Seen")


class Observer:
    """Reads objects as they are stored, and waits for what nobody tells.

    Attributes:
        patience_seconds: How long something is waited for, where nothing else is said.
        pause_seconds: Between two looks.
        api: Requests that are always allowed.
    """

    patience_seconds: ClassVar = 60.0
    pause_seconds: ClassVar = 0.05

    def __init__(self, api: KubeApi) -> None:
        self.api = api

    async def get(self, path: str) -> JsonObject | None:
        """An object; None when there is none."""
        try:
            return await self.api.get(path)
        except errors.NotFound:
            return None

    async def items(self, path: str, **query: str) -> list[JsonObject]:
        """All objects of a collection; `query` takes labelSelector and fieldSelector."""
        return [item async for page in self.api.pages(path, query=query) for item in page["items"]]

    async def until(
        self, look: Callable[[], Awaitable[_Seen]], *, limit: float | None = None
    ) -> _Seen:
        """Look again and again until there is something to see.

        Raises:
            TimeoutError: There was nothing within the limit, in seconds.
        """
        async with asyncio.timeout(self.patience_seconds if limit is None else limit):
            while not (seen := await look()):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(self.pause_seconds)
        return seen
