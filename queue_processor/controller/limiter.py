"""A semaphore that admits waiters by urgency, and lets nobody who is slow have all of it.

Every request of a drain passes here. In a storm, thousands of evictions wait at once, and a cordon
that queued behind them would come too late: the scheduler would go on placing pods on nodes that
are about to go. What is scarce is requests, not drains: a drain that waits for a budget holds no
slot. A limit on drains, with a queue of nodes, was rejected for that reason.

Order. Waiters have a rank, and one heap holds those that may be admitted. First comes the purpose
(`Priority`), then the deadline, rounded, since the warnings of a storm come over some seconds and
none of its nodes is more urgent than another. Among drains that are equally urgent, evictions take
turns (ten pods of each, then the next ten), so that a node with many pods does not hold up a node
with few. Repeated attempts come last, because what was refused a moment ago is likely to be refused
again. Lists come before all evictions: they are few (`pod_lister`), and a node that is not listed
has no chance at all. What shows progress waits until nothing else has waited for some seconds, and
then takes two slots at most: between the evictions of a storm it would take their place, after them
the time of the API server and of the kubelets, and most drains of a storm end without it.

Slots. How many there are is read anew for each admission, from an `AdaptiveLimit`. It learns from
the evictions that were accepted while every slot was held; a refusal is less work than an eviction,
and other requests have their own times.

Windows. Evictions in a namespace that is slow leave slots for others (`namespace_windows`).

Reserves. Order decides who is next, and is of no help while every slot is held. So there are a few
more slots, some for force deletes and cordons, and some of these for cordons alone.
"""

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

from queue_processor.controller.adaptive_limit import AdaptiveLimit
from queue_processor.controller.namespace_windows import Heap, NamespaceWindows, Waiter
from queue_processor.controller.ranks import Priority, Rank
from queue_processor.domain import errors

NO_SLOT = "no slot was free in time"
"""The cause of what was not tried at all."""

# Deadlines within so many seconds of each other are equally urgent.
_EQUALLY_URGENT_SECONDS = 10.0
# Evictions under one budget get into each other's way, and the API server repeats them every
# 0.5 s: that is not what slow means here. Webhooks time out after 10 s, unless they set less.
# https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#timeouts
_PROMPT_SECONDS = 1.0
# How long a request of a drain that is past its deadline may wait.
_AFTER_DEADLINE_SECONDS = 5.0
# A storm has moments in which no request waits, and its last pods take seconds to stop.
_CALM_SECONDS = 5.0
_PROGRESS_SLOTS = 2
# One of so many slots is reserved for each of the two urgent priorities.
_SLOTS_PER_RESERVED = 12


# Force deletes take from one of the two reserves, and cordons from both.
_RESERVES = {Priority.CORDON: 2, Priority.FORCE_DELETE: 1}


class Slot:
    """The right to run one eviction, until it is released."""

    def __init__(
        self,
        *,
        on_late: Callable[[], None],
        on_release: Callable[[bool], None],
        on_accepted: Callable[[], None],
    ) -> None:
        """Hold the slot.

        Args:
            on_late: Called when the answer is late; from then on the slot is free for others.
            on_release: Called once, when the eviction has ended, with whether it was late.
            on_accepted: Called if the API server has accepted the eviction.
        """
        self._on_late = on_late
        self._on_release = on_release
        self._on_accepted = on_accepted
        self._is_late = False
        self._timer = asyncio.get_running_loop().call_later(_PROMPT_SECONDS, self._pass_on)

    def _pass_on(self) -> None:
        self._is_late = True
        self._on_late()

    def accept(self) -> None:
        """Report that the eviction was accepted, before its slot is released."""
        self._on_accepted()

    def release(self) -> None:
        """End the eviction."""
        self._timer.cancel()
        self._on_release(self._is_late)


class PriorityLimiter:
    """A semaphore whose waiters are served by urgency."""

    def __init__(
        self,
        limit: AdaptiveLimit,
        *,
        may_write: Callable[[], bool],
        on_busy: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """Build the limiter.

        Args:
            limit: How many requests may run at once; a few cordons and force deletes more.
            may_write: True while this process leads; called right before every request.
            on_busy: Called with True when requests begin to wait that do more than show progress,
                and with False when none of them has waited for some seconds.
        """
        self._limit = limit
        self._may_write = may_write
        self._on_busy = on_busy
        self._is_busy = False
        self._calm: asyncio.TimerHandle | None = None
        self._held = 0
        self._waiting: Heap = []
        self._windows = NamespaceWindows(limit)
        self._order = itertools.count()

    @contextlib.asynccontextmanager
    async def slot(self, priority: Priority, ends_at: float) -> AsyncIterator[None]:
        """Hold a slot while the request runs.

        Args:
            priority: What the request is for.
            ends_at: The deadline of the drain, on the loop's clock.

        Raises:
            TemporaryError: This process does not lead any more, or no slot was free before the
                deadline.
        """
        latest = max(ends_at, asyncio.get_running_loop().time() + _AFTER_DEADLINE_SECONDS)
        try:
            async with asyncio.timeout_at(latest):
                await self._acquire(self._rank(priority, ends_at))
        except TimeoutError as cause:
            raise errors.TemporaryError(NO_SLOT) from cause
        try:
            with self.backing_off():
                yield
        finally:
            self._give_back()

    @contextlib.contextmanager
    def backing_off(self) -> Iterator[None]:
        """Lower the limit if the API server refuses the request because it has too many."""
        began_in = self._limit.round
        try:
            yield
        except errors.Throttled:
            self._limit.back_off(began_in)
            raise

    async def slot_to_evict(
        self, namespace: str, ends_at: float, *, turn: int, is_repeated: bool
    ) -> Slot:
        """Wait for the slot of an eviction; the caller has to release it.

        Args:
            namespace: The namespace of the pod.
            ends_at: The deadline of the drain, on the loop's clock.
            turn: How many slots the drain has waited for before this one.
            is_repeated: True if the pod's eviction has been refused before.

        Raises:
            TemporaryError: This process does not lead any more.
        """
        rank = self._rank(Priority.EVICTION, ends_at, is_repeated=is_repeated, turn=turn)
        await self._acquire(rank, namespace)

        loop = asyncio.get_running_loop()
        began_at = loop.time()
        began_in = self._limit.round if self._is_full else None

        def learn() -> None:
            # With slots to spare, it is not the limit that makes the API server fast or slow.
            if began_in is not None and self._is_full:
                self._limit.learn(began_in, loop.time() - began_at)

        def pass_on() -> None:
            self._windows.narrow(namespace)
            self._give_back()

        def release(is_late: bool) -> None:  # noqa: FBT001 - of one callback
            self._queue(self._windows.leave(namespace, is_late=is_late))
            if is_late:
                self._admit()
            else:
                self._give_back()

        return Slot(on_late=pass_on, on_release=release, on_accepted=learn)

    @property
    def _is_full(self) -> bool:
        return self._held >= self._limit.slots

    def _rank(
        self, priority: Priority, ends_at: float, *, is_repeated: bool = False, turn: int = 0
    ) -> Rank:
        urgency = int(ends_at // _EQUALLY_URGENT_SECONDS)
        return Rank(priority, urgency, is_repeated, turn, next(self._order))

    async def _acquire(self, rank: Rank, namespace: str | None = None) -> None:
        admitted = asyncio.get_running_loop().create_future()
        self._queue((Waiter(rank, namespace, admitted),))
        self._admit()
        try:
            await admitted
        except asyncio.CancelledError:
            if not admitted.cancelled():
                self._undo_admission(namespace)
            else:
                self._admit()
            raise
        if not self._may_write():
            self._undo_admission(namespace)
            raise errors.TemporaryError("leadership is lost: nothing is written")

    def _queue(self, waiters: Iterable[Waiter]) -> None:
        for waiter in waiters:
            heapq.heappush(self._waiting, (waiter.rank, waiter))

    def _admit(self) -> None:
        waiting = self._waiting
        while waiting and self._may_admit(waiting[0][0].priority):
            _, waiter = heapq.heappop(waiting)
            if waiter.admitted.done():
                self._queue(self._windows.unpark(waiter.namespace))
            elif self._windows.enter(waiter):
                self._held += 1
                waiter.admitted.set_result(None)
        self._note_load(is_busy=self._windows.has_prompt_waiters or self._is_urgent_waiting())

    def _note_load(self, *, is_busy: bool) -> None:
        """Report load at once, and calm when it lasts."""
        if is_busy and self._calm is not None:
            self._calm.cancel()
            self._calm = None
        if is_busy and not self._is_busy:
            self._is_busy = True
            self._on_busy(True)  # noqa: FBT003 - of one callback
        elif self._is_busy and not is_busy and self._calm is None:
            self._calm = asyncio.get_running_loop().call_later(_CALM_SECONDS, self._note_calm)

    def _note_calm(self) -> None:
        self._calm, self._is_busy = None, False
        self._on_busy(False)  # noqa: FBT003 - of one callback
        self._admit()

    def _is_urgent_waiting(self) -> bool:
        return bool(self._waiting) and self._waiting[0][0].priority < Priority.PROGRESS

    def _may_admit(self, priority: Priority) -> bool:
        if priority is Priority.PROGRESS:
            return not self._is_busy and self._held < _PROGRESS_SLOTS
        slots = self._limit.slots
        reserved = _RESERVES.get(priority, 0) * max(1, slots // _SLOTS_PER_RESERVED)
        return self._held < slots + reserved

    def _give_back(self) -> None:
        self._held -= 1
        self._admit()

    def _undo_admission(self, namespace: str | None) -> None:
        if namespace is not None:
            self._queue(self._windows.leave(namespace))
        self._give_back()
