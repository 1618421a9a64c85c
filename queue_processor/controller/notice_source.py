"""Notices on Nodes as a source of deliveries.

A watcher on each node writes what instance metadata announces into annotations of its Node
(`domain.notices`). The node index sees every Node anyway, so this source costs no request until a
notice is settled: then the annotation is removed, if it still has the value that was read.

The Node is the store. A notice is kept here only while it is on its Node, and one that nobody has
removed is delivered again by whichever process leads next. Another value of the annotation is
another notice, and does not wait for the first: it may cancel it.

A process that only observes removes nothing. It keeps what it has handled as never available, until
the notice is gone.
"""

import asyncio
import contextlib
import datetime as dt
import hashlib
import math
from collections.abc import Sequence
from typing import TypeAlias

from queue_processor.controller import ports
from queue_processor.controller.node_index import NodeIndex
from queue_processor.domain import errors, notices
from queue_processor.domain.events import InterruptionEvent
from queue_processor.domain.nodes import NodeView, WrittenNotice
from queue_processor.observability import event_reasons
from queue_processor.observability.metrics import SourceName

_Key: TypeAlias = tuple[str, WrittenNotice]

_LONGEST_WAIT = dt.timedelta(seconds=20)


class NoticeSource:
    """Delivers each notice on a node of the index."""

    name = SourceName.NOTICES
    longest_receive = _LONGEST_WAIT

    def __init__(
        self,
        *,
        node_index: NodeIndex,
        nodes: ports.Nodes,
        event_recorder: ports.EventRecorder,
        is_observing: bool,
        clock: ports.Clock,
    ) -> None:
        """Build the source.

        Args:
            node_index: Has the notices.
            nodes: Where they are removed.
            event_recorder: Records those that cannot be understood.
            is_observing: True if nothing is removed or recorded.
            clock: The present.
        """
        self._node_index = node_index
        self._nodes = nodes
        self._event_recorder = event_recorder
        self._is_observing = is_observing
        self._clock = clock
        self._waiting: dict[_Key, NoticeDelivery] = {}
        self._open: dict[_Key, NoticeDelivery] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        try:
            with self._node_index.listening(self._take_in):
                await asyncio.get_running_loop().create_future()
        finally:
            self._waiting.clear()

    def _take_in(self, node: NodeView) -> None:
        for notice in node.notices:
            key = (node.uid, notice)
            if key not in self._waiting and key not in self._open:
                self._wait(NoticeDelivery(self, node, notice, sent_at=self._clock()))

    def _wait(self, delivery: "NoticeDelivery") -> None:
        self._waiting[delivery.key] = delivery
        self._changed.set()

    async def receive(self) -> Sequence["NoticeDelivery"]:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + _LONGEST_WAIT.total_seconds()
        while True:
            self._changed.clear()
            self._waiting = {
                key: delivery for key, delivery in self._waiting.items() if not delivery.is_lost
            }
            now = loop.time()
            due = [each for each in self._waiting.values() if each.available_at <= now]
            if due or now >= ends_at:
                return [self._opened(delivery) for delivery in due]
            wakes_at = min((each.available_at for each in self._waiting.values()), default=ends_at)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(wakes_at, ends_at)):
                    await self._changed.wait()

    def _opened(self, delivery: "NoticeDelivery") -> "NoticeDelivery":
        del self._waiting[delivery.key]
        self._open[delivery.key] = delivery
        delivery.receive_count += 1
        return delivery

    async def count_waiting(self) -> int:
        return sum(each.available_at < math.inf for each in self._waiting.values())

    # For the deliveries.

    def is_on_node(self, node: NodeView, notice: WrittenNotice) -> bool:
        """Return True if a notice is on its node, as far as the index shows."""
        current = self._node_index.get(node.uid)
        return current is not None and notice in current.notices

    async def settle(self, delivery: "NoticeDelivery") -> None:
        """Take a notice off its node, or set it aside where it is only observed."""
        if self._is_observing:
            delivery.available_at = math.inf
            return
        try:
            written = await self._nodes.remove_notice(delivery.node, delivery.notice)
        except errors.NotFound:
            self._node_index.forget(delivery.node)
            return
        # An older version of the Node, which the watch may show later, has the notice still.
        self._node_index.update(written)

    def report_malformed(self, node: NodeView, notice: WrittenNotice, reason: str) -> None:
        """Record that a notice cannot be understood."""
        if self._is_observing:
            return
        note = f"The annotation {notice.annotation} is not a notice, and was removed: {reason}"
        self._event_recorder.node_event(node, event_reasons.MALFORMED_NOTICE, note)

    def close(self, delivery: "NoticeDelivery") -> None:
        """Let a notice that is still on its node be delivered again."""
        del self._open[delivery.key]
        if not delivery.is_lost:
            self._wait(delivery)


class NoticeDelivery:
    """One notice.

    Attributes:
        node: The node that it is on, as it was when the notice was read.
        notice: The notice.
        available_at: When it may be delivered, on the loop's clock.
    """

    def __init__(
        self, source: NoticeSource, node: NodeView, notice: WrittenNotice, *, sent_at: dt.datetime
    ) -> None:
        self._source = source
        self.notice = notice
        self.node = node
        self.sent_at = sent_at
        self.receive_count = 0
        self.available_at = 0.0
        digest = hashlib.sha256(notice.value.encode(errors="replace")).hexdigest()[:8]
        name = notice.annotation.removeprefix(notices.ANNOTATION_PREFIX)
        self.id = f"notice-{node.name}-{name}-{digest}"

    @property
    def key(self) -> _Key:
        """Identify the notice: one value of one annotation of one Node."""
        return self.node.uid, self.notice

    @property
    def is_lost(self) -> bool:
        return not self._source.is_on_node(self.node, self.notice)

    def read(self) -> InterruptionEvent:
        return notices.parse(
            self.notice.annotation,
            self.notice.value,
            instance_id=self.node.instance_id,
            received_at=self.sent_at,
        )

    async def acknowledge(self) -> None:
        await self._source.settle(self)

    async def release(self, after: dt.timedelta) -> None:
        self.available_at = asyncio.get_running_loop().time() + after.total_seconds()

    async def reject(self, reason: str) -> None:
        self._source.report_malformed(self.node, self.notice, reason)

    def close(self) -> None:
        self._source.close(self)
