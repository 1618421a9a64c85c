"""The holds of one node while this process works on it, and the intent that follows from them."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Collection

from queue_processor.controller.ports import Clock
from queue_processor.controller.waiting import ChangeSignal
from queue_processor.domain import holds, intent
from queue_processor.domain.holds import Hold
from queue_processor.domain.intent import Intent
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.plan import InstanceResult


class SteadyClock:
    """The wall clock as it was once, and monotonic from then on.

    Deadlines are wall-clock times, set by AWS. Somebody who sets the clock of this machine in the
    middle of a drain must not move them.
    """

    def __init__(self, wall_clock: Clock) -> None:
        self._wall_clock = wall_clock
        self._loop = asyncio.get_running_loop()
        self._began_at = self._loop.time()
        self._wall_at_start = wall_clock()

    def __call__(self) -> dt.datetime:
        """Return the present."""
        return self._wall_at_start + dt.timedelta(seconds=self._loop.time() - self._began_at)

    @property
    def ahead_by(self) -> dt.timedelta:
        """The time by which it is ahead of the wall clock, as that is now."""
        return self() - self._wall_clock()

    def on_loop(self, moment: dt.datetime) -> float:
        """Return a moment on the clock of the event loop, in seconds."""
        return self._began_at + (moment - self._wall_at_start).total_seconds()


class NodeHolds:
    """The holds of a node: those that are written on it, and those that this process works for.

    Attributes:
        node: The node as it was last seen, or as this process wrote it.
        changed: Notified when a hold or the node has changed.
        writing: Held by those who write holds on the Node, so that none is written late.
    """

    def __init__(self, node: NodeView, *, clock: Clock) -> None:
        self.node = node
        self.changed = ChangeSignal()
        self.writing = asyncio.Lock()
        self._clock = SteadyClock(clock)
        self._ours: dict[str, Hold] = {}
        self._ahead_by: dict[str, dt.timedelta] = {}
        self._dropped: set[str] = set()
        self._intent: Intent | None = None

    @property
    def all(self) -> tuple[Hold, ...]:
        """Every hold, those included that are not written on the node any more."""
        return holds.merge(self.node.holds, self._ours.values())

    @property
    def written(self) -> tuple[Hold, ...]:
        """The holds that belong on the node, in terms of the wall clock."""
        return tuple(
            hold
            for hold in self.all
            if hold.id not in self._dropped and not intent.is_refuted(hold, self.node)
        )

    @property
    def intent(self) -> Intent:
        """The work that this process has to do now, in terms of the steady clock."""
        if self._intent is None:
            ours = (hold.shifted(self._ahead_by[hold.id]) for hold in self._ours.values())
            self._intent = intent.intent_of(ours, self.node)
        return self._intent

    @property
    def draining(self) -> tuple[Hold, ...]:
        """The holds that this process drains the node for, in terms of the wall clock."""
        return tuple(hold for hold in self._ours.values() if hold.is_draining)

    @property
    def ruling(self) -> Hold | None:
        """The hold whose deadline is the nearest, in terms of the wall clock."""
        return Intent(holds=self.draining).ruling

    @property
    def refuted(self) -> tuple[Hold, ...]:
        """The holds that this process works for although the node proves them wrong."""
        return tuple(hold for hold in self.draining if intent.is_refuted(hold, self.node))

    def result_of(self, hold_id: str) -> InstanceResult | None:
        """Return how the work for a hold ended; None if it has not, or if the hold was dropped."""
        hold = self._ours.get(hold_id)
        return None if hold is None else hold.result

    def add(self, hold: Hold) -> Hold:
        """Add a hold, or let it join the one with its id; return the hold as it is then.

        An update replaces what it updates, unless it is older. Work that has ended begins anew.
        """
        present = next((each for each in self.all if each.id == hold.id), None)
        if present is not None and present.occurred_at > hold.occurred_at:
            hold = dataclasses.replace(present, action=hold.action, result=hold.result)
        self._dropped.discard(hold.id)
        self._ours[hold.id] = hold
        self._ahead_by[hold.id] = self._clock.ahead_by
        self._notify()
        return hold

    def end(self, hold_id: str, result: InstanceResult) -> None:
        """Note how the work for a hold ended; it goes on holding the node."""
        self._ours[hold_id] = self._ours[hold_id].ended(result)
        self._notify()

    def drop(self, ids: Collection[str]) -> None:
        """Let holds go: the node is not theirs any more."""
        self._dropped.update(ids)
        for hold_id in ids:
            self._ours.pop(hold_id, None)
        self._notify()

    def has_dropped(self, hold_id: str) -> bool:
        """Return True if a hold was let go, and not added again since."""
        return hold_id in self._dropped

    def see(self, node: NodeView) -> None:
        """Take in the node as it is now."""
        self.node = node
        self._notify()

    def _notify(self) -> None:
        """Let all who wait look again; what follows from the holds is worked out anew."""
        self._intent = None
        self.changed.notify_all()

    @property
    def now(self) -> dt.datetime:
        """The present on the steady clock."""
        return self._clock()

    def until_deadline(self, hold: Hold) -> dt.timedelta:
        """Return the time until the deadline of a hold; negative after it."""
        return hold.deadline.at + self._ahead_by[hold.id] - self.now

    @property
    def left(self) -> dt.timedelta:
        """Until the next deadline; zero after the last."""
        now = self.now
        draining = self.intent.draining
        moments = {hold.deadline.at for hold in draining} | {
            hold.deadline.last_at for hold in draining
        }
        return min((each - now for each in moments if each > now), default=dt.timedelta())

    @property
    def is_over(self) -> bool:
        """True once the last deadline has passed."""
        return self.left <= dt.timedelta()

    @property
    def ends_at(self) -> float:
        """The earliest deadline on the loop's clock: how urgent the node is."""
        earliest = self.intent.earliest_at
        return self._clock.on_loop(self.now if earliest is None else earliest)
