"""A hold: one event's claim on a node, from the moment it is planned until it is cancelled.

Several events can name one node, in any order: a rebalance recommendation, then the Spot
interruption, then the state change. Each of them is a hold of its own, with its own deadline and
its own end, and what is done to the node follows from all of them (`intent`). No event has to know
which others came before it, and one that is cancelled takes nothing with it but itself.

Holds are written on the Node. So they survive a restart, a new leader, and a message that its queue
no longer keeps.
"""

import dataclasses
import datetime as dt
from collections.abc import Iterable

from queue_processor.domain import drill_ids
from queue_processor.domain.deadlines import Deadline
from queue_processor.domain.events import EventKind
from queue_processor.domain.plan import Action, InstanceResult, Plan

# Of one node. Seven kinds name an instance, most of them once; more is not AWS, but somebody else.
MOST_HOLDS = 16


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A claim on a node.

    Attributes:
        id: Identifies the claim; an event that repeats, updates or cancels it has the same.
        action: CORDON or CORDON_AND_DRAIN.
        occurred_at: When the event happened, by its own account.
        since: When this program planned for it first.
        is_instance_gone: The event reports that the instance runs no more.
        result: How the work ended; None while it goes on. A node stays held afterwards.
    """

    id: str
    event_id: str
    kind: EventKind
    action: Action
    occurred_at: dt.datetime
    since: dt.datetime
    deadline: Deadline
    is_instance_gone: bool = False
    result: InstanceResult | None = None

    @property
    def is_rebuilt(self) -> bool:
        """True if only its kind is certain: the node shows no more than a taint of this kind."""
        return self.id == self.kind

    @property
    def is_of_drill(self) -> bool:
        """True if a drill sent the event, so the instance stays."""
        return drill_ids.is_drill(self.event_id)

    @property
    def is_draining(self) -> bool:
        """True while the node is drained because of it."""
        return self.action is Action.CORDON_AND_DRAIN and self.result is None

    def ended(self, result: InstanceResult) -> "Hold":
        """Return the hold after its work."""
        return dataclasses.replace(self, result=result)

    def shifted(self, by: dt.timedelta) -> "Hold":
        """Return the same hold on a clock that is ahead by this much."""
        return dataclasses.replace(self, since=self.since + by, deadline=self.deadline.shifted(by))


def hold_of(plan: Plan) -> Hold:
    """Return the hold that a plan puts on its node."""
    return Hold(
        id=plan.hold_id,
        event_id=plan.event_id,
        kind=plan.kind,
        action=plan.action,
        occurred_at=plan.occurred_at,
        since=plan.since,
        deadline=plan.deadline,
        is_instance_gone=plan.is_instance_gone,
    )


def merge(older: Iterable[Hold], newer: Iterable[Hold]) -> tuple[Hold, ...]:
    """Return the holds of both, each id once and as `newer` has it.

    A rebuilt hold makes way for one of its kind that is certain.
    Where there are more than a node can have, those whose work goes on come first, then those with
    the earliest deadline.
    """
    by_id = {hold.id: hold for hold in (*older, *newer)}
    certain = {hold.kind for hold in by_id.values() if not hold.is_rebuilt}
    by_id = {
        hold.id: hold for hold in by_id.values() if not (hold.is_rebuilt and hold.kind in certain)
    }
    if len(by_id) <= MOST_HOLDS:
        return tuple(by_id.values())
    urgent = sorted(by_id.values(), key=lambda hold: (hold.result is not None, hold.deadline.at))
    return tuple(urgent[:MOST_HOLDS])
