"""Remembers what events have cancelled: queues deliver more than once and in any order.

An announcement that comes after its own end must not hold a node for which nothing will happen.
"""

import datetime as dt

from queue_processor.controller.ports import Clock
from queue_processor.domain.events import InterruptionEvent
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.plan import Plan

# How much later than its end an announcement may arrive: queues deliver again within minutes.
_KEPT = dt.timedelta(hours=1)


class Cancellations:
    """The cancellations of the last hour, by what they cancel."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # The time of the cancellation, and when it came, the oldest first.
        self._cancelled: dict[tuple[InstanceId, str], tuple[dt.datetime, dt.datetime]] = {}

    def keep(self, event: InterruptionEvent, instance_id: InstanceId) -> None:
        """Remember that an event cancels what holds an instance, whether it has a Node or not."""
        now = self._clock()
        while self._cancelled:
            oldest, (_, came_at) = next(iter(self._cancelled.items()))
            if now - came_at < _KEPT:
                break
            del self._cancelled[oldest]
        key = instance_id, event.hold_id
        earlier, _ = self._cancelled.pop(key, (event.occurred_at, now))
        self._cancelled[key] = max(event.occurred_at, earlier), now

    def cover(self, plan: Plan) -> bool:
        """Return True if a later event has cancelled what the plan is about."""
        cancelled = self._cancelled.get((plan.instance_id, plan.hold_id))
        return cancelled is not None and plan.occurred_at <= cancelled[0]
