"""(plan, node, pods, now) → what a drain that begins now would do to the pods of its node.

Observe mode logs a forecast in place of the drain. It is a statement about this moment: a budget
that blocks a pod now may allow its eviction as soon as the workload has started the pod elsewhere.
What a budget has left is counted down pod by pod, as the API server does it: of three pods under a
budget that allows one disruption, two are blocked.
"""

import dataclasses
import datetime as dt
from collections.abc import Iterable, Iterator, Sequence

from queue_processor.domain import pods
from queue_processor.domain.holds import hold_of
from queue_processor.domain.intent import intent_of
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.plan import Plan
from queue_processor.domain.pods import EvictionGroup, PodRef, PodView


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DisruptionBudget:
    """A PodDisruptionBudget.

    Attributes:
        allowed: How many of its pods may be evicted now.
    """

    namespace: str
    name: str
    allowed: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GuardedPod:
    """A pod, and the budgets that decide about its eviction.

    Attributes:
        budgets: With more than one, the API server refuses every eviction.
    """

    pod: PodView
    budgets: tuple[DisruptionBudget, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BlockedEviction:
    """An eviction that budgets do not allow now.

    Attributes:
        deleted_at: When the pod is deleted if it is still blocked then; None: not at all.
    """

    pod: PodRef
    budgets: tuple[str, ...]
    deleted_at: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DrainForecast:
    """The pods that a drain would move, in the order of their evictions.

    Attributes:
        evicted: All that have to go.
        blocked: Those of them whose budgets do not allow it now.
        force_deleted: Those of them whose grace period does not fit before the deadline, so that
            they would be deleted with what is left of it.
    """

    evicted: tuple[PodRef, ...] = ()
    blocked: tuple[BlockedEviction, ...] = ()
    force_deleted: tuple[PodRef, ...] = ()


def forecast(
    plan: Plan,
    node: NodeView,
    guarded_pods: Iterable[GuardedPod],
    *,
    now: dt.datetime,
    force_margin: dt.timedelta | None,
) -> DrainForecast:
    """Forecast a drain.

    Args:
        plan: What the node is drained for.
        node: The node.
        guarded_pods: The pods on it, those that stay included.
        now: The present.
        force_margin: How long before a hard deadline a blocked pod is deleted at the latest; None
            where it is left.
    """
    intent = intent_of((hold_of(plan),), node)
    moved = sorted((each for each in guarded_pods if _is_moved(each.pod)), key=_place)

    def deleted_at(pod: PodView) -> dt.datetime | None:
        if force_margin is None:
            return None
        if intent.is_dead:
            return now
        return intent.delete_blocked_at(grace=pod.grace, force_margin=force_margin)

    deletions = {each.pod.ref: deleted_at(each.pod) for each in moved}
    return DrainForecast(
        evicted=tuple(deletions),
        blocked=tuple(
            BlockedEviction(
                pod=each.pod.ref,
                budgets=tuple(budget.name for budget in each.budgets),
                deleted_at=deletions[each.pod.ref],
            )
            for each in _blocked(moved)
        ),
        force_deleted=tuple(pod for pod, at in deletions.items() if at is not None and at <= now),
    )


def _is_moved(pod: PodView) -> bool:
    return pods.verdict_on(pod).is_moved and not pod.is_terminating


def _place(guarded: GuardedPod) -> tuple[EvictionGroup, str]:
    return pods.group_of(guarded.pod, own_pod=None), str(guarded.pod.ref)


def _blocked(moved: Sequence[GuardedPod]) -> Iterator[GuardedPod]:
    left = {budget: budget.allowed for each in moved for budget in each.budgets}
    for each in moved:
        match each.budgets:
            case []:
                pass
            case [budget] if left[budget] > 0:
                left[budget] -= 1
            case _:
                yield each
