"""(holds, node) → intent: what all the events that name a node ask for together.

The rules, all pure, so that a drain can ask again whenever a hold or its node has changed:

- Every hold keeps the node cordoned, and keeps its own taint on it. The mark of a node is its
  intent written down, and the intent of no holds is to restore what was there.
- Every hold that drains has its own end. A hard deadline never keeps a soft one from giving up, and
  an end that comes earlier never waits for one that comes later.
- Only hard deadlines of holds that drain override a budget, each by its own rule.
- Groups of pods wait for each other until the hold that is nearest to its end needs the time.
- An instance is dead only when an event says so that is newer than the last sign of life of its
  node, or the cloud provider says so on the Node, and the node is not Ready. A kubelet that cannot
  be reached proves nothing: its pods may run.
- A node that came back to life proves an event wrong or over, whatever the event says.
"""

import dataclasses
import datetime as dt
from collections.abc import Iterable

from queue_processor.domain import pods
from queue_processor.domain.events import EventKind
from queue_processor.domain.holds import Hold
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.plan import InstanceResult, Plan
from queue_processor.domain.pods import EvictionGroup


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """The things to do with a node.

    Attributes:
        holds: What holds the node, in the order in which the holds came.
        is_dead: Nothing runs on the instance any more: nothing there is protected by a budget.
    """

    holds: tuple[Hold, ...] = ()
    is_dead: bool = False

    @property
    def draining(self) -> tuple[Hold, ...]:
        """The holds for which the node is being drained."""
        return tuple(hold for hold in self.holds if hold.is_draining)

    @property
    def ruling(self) -> Hold | None:
        """The hold to show to people: the earliest hard deadline, else the earliest soft one."""
        return min(
            self.draining or self.holds,
            key=lambda hold: (not hold.deadline.is_hard, hold.deadline.at),
            default=None,
        )

    @property
    def earliest_at(self) -> dt.datetime | None:
        """The earliest deadline of a hold that drains."""
        return min((hold.deadline.at for hold in self.draining), default=None)

    @property
    def instance_ends_at(self) -> dt.datetime | None:
        """The time when AWS takes the instance, if it has set one."""
        return min(
            (hold.deadline.last_at for hold in self.draining if hold.deadline.is_hard),
            default=None,
        )

    def delete_blocked_at(
        self, *, grace: dt.timedelta, force_margin: dt.timedelta
    ) -> dt.datetime | None:
        """Return when a pod that a budget still blocks has to be deleted; None: never.

        Where the instance is said to be gone, only the proof that it is dead counts.
        """
        return min(
            (
                hold.deadline.delete_blocked_at(grace=grace, force_margin=force_margin)
                for hold in self.draining
                if hold.deadline.is_hard and not hold.is_instance_gone
            ),
            default=None,
        )

    def turn_at(self, group: EvictionGroup) -> dt.datetime | None:
        """Return from when on a group does not wait for those before it; None without a drain."""
        kept = pods.TIME_KEPT[group]
        return min(
            (hold.deadline.at - (hold.deadline.at - hold.since) * kept for hold in self.draining),
            default=None,
        )

    def next_end_at(self, longest_grace: dt.timedelta) -> dt.datetime | None:
        """Return when the next hold is over, whatever is left; None without a drain."""
        return min((hold.deadline.ends_at(longest_grace) for hold in self.draining), default=None)

    def over(self, now: dt.datetime, *, longest_grace: dt.timedelta) -> tuple[Hold, ...]:
        """Return the holds that are over now, whatever is left.

        Args:
            now: The present.
            longest_grace: Of the pods that are left.
        """
        return tuple(hold for hold in self.draining if hold.deadline.ends_at(longest_grace) <= now)


def intent_of(holds: Iterable[Hold], node: NodeView) -> Intent:
    """Return what the holds of a node ask for, as the node is now."""
    lasting = tuple(hold for hold in holds if not is_refuted(hold, node))
    return Intent(holds=lasting, is_dead=_is_dead(lasting, node))


def is_refuted(hold: Hold, node: NodeView) -> bool:
    """Return True if the node proves that the state change of its instance is wrong, or over.

    After the end of an instance any sign of life is a proof. While it stops, its kubelet still
    works for a while: then only a node that has become Ready since is one.
    """
    if hold.kind is not EventKind.STATE_CHANGE or not node.is_ready:
        return False
    alive_at = node.last_sign_of_life_at if hold.is_instance_gone else node.ready_since
    return alive_at is not None and alive_at > hold.occurred_at


def _is_dead(holds: Iterable[Hold], node: NodeView) -> bool:
    """Return True if it is certain that nothing runs on the instance.

    https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown
    """
    if node.is_ready:
        return False
    alive_at = node.last_sign_of_life_at
    return node.is_shut_down or any(
        hold.is_instance_gone and (alive_at is None or hold.occurred_at >= alive_at)
        for hold in holds
    )


def cancelled_by(plan: Plan, holds: Iterable[Hold], node: NodeView) -> frozenset[str]:
    """Return the ids of the holds that an event of cancellation ends.

    A scheduled change that will not take place ends its own hold. An instance that runs again, and
    whose node is Ready, ends what stopped it: its state changes, and all whose time came before.
    """
    if plan.kind is EventKind.STATE_CHANGE:
        if not node.is_ready:
            return frozenset()
        return frozenset(
            hold.id
            for hold in holds
            if (hold.kind is EventKind.STATE_CHANGE and hold.occurred_at <= plan.occurred_at)
            or (hold.deadline.is_hard and hold.deadline.last_at <= plan.occurred_at)
        )
    return frozenset(
        hold.id
        for hold in holds
        if hold.id == plan.hold_id or (hold.is_rebuilt and hold.kind == plan.kind)
    )


def needs_work(node: NodeView, *, is_active: bool) -> bool:
    """Return True if there is something to do for a node, without any new event.

    Somebody has damaged what is written there, a node that came back is still out of service, a
    hold has been refuted, or another process has left a drain unfinished.

    Args:
        node: The node.
        is_active: This process works for the holds of the node already.
    """
    if (node.has_damaged_holds and node.holds) or (node.is_out_of_service_by_us and node.is_ready):
        return True
    return not is_active and any(hold.is_draining or is_refuted(hold, node) for hold in node.holds)


def result_at_end(hold: Hold) -> InstanceResult:
    """Return the result of a hold that is over with pods left."""
    return InstanceResult.PAST_DEADLINE if hold.deadline.is_hard else InstanceResult.GAVE_UP
