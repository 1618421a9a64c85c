"""Watches: streams of changes, one JSON line each.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import asyncio
import collections
import dataclasses
from collections.abc import Callable, Iterable
from typing import Self

from queue_processor.simulator.kube import clock, objects, resources, selection, statuses, store

_BOOKMARK_SECONDS = 60.0
# How long before its end a watch gets its last bookmark.
_LAST_BOOKMARK_SECONDS = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class WatchOptions:
    """The options of a watch.

    ``since`` is the resourceVersion to go on from; ``None`` starts with the objects there are.
    ``seconds`` is how long the server keeps the stream open.
    """

    selector: selection.ObjectSelector
    since: int | None
    seconds: float
    bookmarks: bool = False


class Watcher:
    """One open watch: an iterator of lines that ends when the server ends the watch."""

    def __init__(self, hub: "Hub", options: WatchOptions) -> None:
        self.options = options
        self._hub = hub
        self._lines: collections.deque[bytes] = collections.deque()
        self._waiter: asyncio.Future[None] | None = None
        self._timers: list[asyncio.Handle] = []
        self._closed = False
        self._began_at = hub.latest(options.selector.resource)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await self._wait()
        if not self._lines:
            raise StopAsyncIteration
        return self._lines.popleft()

    async def chunk(self) -> bytes:
        """Wait for a line, and return all lines that are ready; empty when the watch is over."""
        await self._wait()
        lines = b"".join(self._lines)
        self._lines.clear()
        return lines

    def close(self) -> None:
        """End the watch; lines that are ready can still be read."""
        self._closed = True
        self._hub.remove(self)
        for timer in self._timers:
            timer.cancel()
        self._wake()

    def send(self, kind: str, document: bytes) -> None:
        """Put a line into the stream."""
        self._lines.append(b'{"type":"%b","object":%b}\n' % (kind.encode(), document))
        self._wake()

    def offer(self, change: store.Change) -> None:
        """Send the change if it concerns the selector."""
        before, after, selector = change.before, change.after, self.options.selector
        was_in = before is not None and selector.matches(before)
        is_in = change.kind is not store.ChangeKind.DELETED and selector.matches(after)
        if is_in:
            self.send("MODIFIED" if was_in else "ADDED", after.document())
        elif was_in and before is not None:
            gone = change.kind is store.ChangeKind.DELETED
            # An object that leaves the selection is sent as the selection last saw it.
            last = after if gone else before.with_version(change.version)
            self.send("DELETED", last.document())

    def start(self) -> None:
        """Start the timers of bookmarks and of the end."""
        self._timers = [clock.later(self.options.seconds, self.close)]
        if self.options.bookmarks:
            self._schedule_bookmark(self.options.seconds - _LAST_BOOKMARK_SECONDS)

    def _schedule_bookmark(self, left: float) -> None:
        """Send a bookmark each minute and when ``left`` seconds have passed."""
        wait = min(_BOOKMARK_SECONDS, left)

        def bookmark() -> None:
            # Without a change since the watch began there is no bookmark.
            latest = self._hub.latest(self.options.selector.resource)
            if latest > max(self._began_at, self.options.since or 0):
                self._send_bookmark(latest)
            if left > wait:
                self._schedule_bookmark(left - wait)

        if wait >= 0:
            self._timers[1:] = [clock.later(wait, bookmark)]

    def _send_bookmark(self, version: int) -> None:
        resource = self.options.selector.resource
        metadata = {"resourceVersion": str(version)}
        body = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        self.send("BOOKMARK", objects.to_json(body))

    async def _wait(self) -> None:
        while not self._lines and not self._closed:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Hub:
    """The open watches; a watch of one node's pods is offered only changes on that node."""

    def __init__(self, objects_store: store.Store) -> None:
        self._store = objects_store
        self._open: dict[tuple[resources.Resource, str | None], dict[Watcher, None]] = {}
        objects_store.observe(self._dispatch)

    def latest(self, resource: resources.Resource) -> int:
        """Return the resourceVersion of the last change of a resource; 0 before any."""
        return self._store.latest(resource)

    def open(
        self, options: WatchOptions, initial: Callable[[], Iterable[objects.Stored]]
    ) -> Watcher:
        """Start a watch; ``initial`` returns the selected objects if it starts from now."""
        watcher = Watcher(self, options)
        resource = options.selector.resource
        if options.since is None:
            for stored in initial():
                watcher.send("ADDED", stored.document())
        elif options.since < (floor := self._store.floor(resource)):
            error = statuses.expired(f"too old resource version: {options.since} ({floor})")
            watcher.send("ERROR", objects.to_json(error.status()))
            watcher.close()
            return watcher
        else:
            for change in self._store.changes_since(resource, options.since):
                watcher.offer(change)
        self._open.setdefault(self._place(options), {})[watcher] = None
        watcher.start()
        return watcher

    def remove(self, watcher: Watcher) -> None:
        """Offer the watcher no more changes."""
        self._open.get(self._place(watcher.options), {}).pop(watcher, None)

    def drop_all(self) -> None:
        """End every watch, as an API server does that stops."""
        for watchers in list(self._open.values()):
            for watcher in list(watchers):
                watcher.close()

    def fail(self, plural: str, error: statuses.ApiError) -> None:
        """Send an error to every watch of a resource, and end it."""
        for (resource, _), watchers in list(self._open.items()):
            if resource.plural == plural:
                for watcher in list(watchers):
                    watcher.send("ERROR", objects.to_json(error.status()))
                    watcher.close()

    @property
    def count(self) -> int:
        """Return how many watches are open."""
        return sum(len(watchers) for watchers in self._open.values())

    @staticmethod
    def _place(options: WatchOptions) -> tuple[resources.Resource, str | None]:
        resource = options.selector.resource
        node = options.selector.fields.exact("spec.nodeName")
        return resource, node if resource is resources.PODS else None

    def _dispatch(self, change: store.Change) -> None:
        resource = change.resource
        places: list[str | None] = [None]
        if resource is resources.PODS:
            states = [change.after] if change.before is None else [change.before, change.after]
            places += sorted({pod.node_name for pod in states})
        for place in places:
            for watcher in list(self._open.get((resource, place), ())):
                watcher.offer(change)
