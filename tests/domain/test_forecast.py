"""The forecast of a drain, and the pods in it."""

import dataclasses
import datetime as dt

import pytest

from queue_processor.domain import forecast
from queue_processor.domain.deadlines import Deadline
from queue_processor.domain.events import EventKind
from queue_processor.domain.forecast import (
    BlockedEviction,
    DisruptionBudget,
    DrainForecast,
    GuardedPod,
)
from queue_processor.domain.nodes import SHUTDOWN_TAINT, NodeView, Taint
from queue_processor.domain.plan import Action, Plan
from queue_processor.domain.pods import PodRef, PodView
from tests.domain import samples

NOW = dt.datetime(2026, 8, 27, 12, 0, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
MARGIN = 10 * SECOND

NODE = samples.NODE
DEAD = dataclasses.replace(
    NODE, is_ready=False, taints=(Taint(key=SHUTDOWN_TAINT, effect="NoSchedule"),)
)
PLAN = Plan(
    event_id="event-1",
    hold_id="event-1",
    kind=EventKind.SPOT_INTERRUPTION,
    since=NOW,
    occurred_at=NOW,
    action=Action.CORDON_AND_DRAIN,
    instance_id=NODE.instance_id,
    node_name=NODE.name,
    deadline=Deadline(at=NOW + 120 * SECOND, is_hard=True),
)
SOFT = dataclasses.replace(PLAN, deadline=Deadline(at=NOW + 1800 * SECOND, is_hard=False))


def pod(name: str, *, grace: int = 30, priority_class: str = "") -> PodView:
    ref = PodRef(namespace="default", name=name, uid=f"uid-{name}")
    return PodView(ref=ref, grace=grace * SECOND, priority_class=priority_class)


def budget(name: str = "web", *, allowed: int = 0) -> DisruptionBudget:
    return DisruptionBudget(namespace="default", name=name, allowed=allowed)


def of(
    *pods: PodView | GuardedPod,
    plan: Plan = PLAN,
    node: NodeView = NODE,
    force_margin: dt.timedelta | None = MARGIN,
) -> DrainForecast:
    guarded = [each if isinstance(each, GuardedPod) else GuardedPod(pod=each) for each in pods]
    return forecast.forecast(plan, node, guarded, now=NOW, force_margin=force_margin)


def names(pods: tuple[PodRef, ...]) -> list[str]:
    return [pod.name for pod in pods]


def test_pods_that_a_drain_leaves_are_not_evicted() -> None:
    expected = of(
        pod("web"),
        dataclasses.replace(pod("agent"), owner_kind="DaemonSet"),
        dataclasses.replace(pod("static"), is_mirror=True),
        dataclasses.replace(pod("job"), is_finished=True),
        dataclasses.replace(pod("going"), is_terminating=True),
    )

    assert expected == DrainForecast(evicted=(pod("web").ref,))


def test_critical_pods_are_evicted_last() -> None:
    expected = of(pod("dns", priority_class="system-cluster-critical"), pod("web"), pod("api"))

    assert names(expected.evicted) == ["api", "web", "dns"]


def test_a_budget_blocks_the_pods_for_which_it_has_nothing_left() -> None:
    one = budget(allowed=1)
    expected = of(*(GuardedPod(pod=pod(name), budgets=(one,)) for name in ("a", "b", "c")))

    assert names(expected.evicted) == ["a", "b", "c"]
    assert [each.pod.name for each in expected.blocked] == ["b", "c"]
    assert {each.budgets for each in expected.blocked} == {("web",)}


def test_a_pod_with_two_budgets_is_blocked_whatever_they_allow() -> None:
    both = (budget("one", allowed=5), budget("two", allowed=5))
    (blocked,) = of(GuardedPod(pod=pod("web"), budgets=both)).blocked

    assert blocked.budgets == ("one", "two")


def test_a_blocked_pod_is_deleted_in_time_for_its_grace_period() -> None:
    (blocked,) = of(GuardedPod(pod=pod("web"), budgets=(budget(),))).blocked

    assert blocked == BlockedEviction(
        pod=pod("web").ref, budgets=("web",), deleted_at=NOW + (120 - 30 - 1) * SECOND
    )


@pytest.mark.parametrize(
    ("plan", "force_margin"),
    [(SOFT, MARGIN), (PLAN, None)],
    ids=["at a soft deadline", "where the settings leave it"],
)
def test_a_blocked_pod_is_not_deleted(plan: Plan, force_margin: dt.timedelta | None) -> None:
    web = GuardedPod(pod=pod("web", grace=3600), budgets=(budget(),))
    expected = of(web, plan=plan, force_margin=force_margin)

    assert [each.deleted_at for each in expected.blocked] == [None]
    assert expected.force_deleted == ()


@pytest.mark.parametrize(("grace", "is_deleted"), [(30, False), (118, False), (119, True)])
def test_a_pod_whose_grace_period_does_not_fit_is_deleted(grace: int, *, is_deleted: bool) -> None:
    expected = of(pod("slow", grace=grace))

    assert names(expected.evicted) == ["slow"]
    assert names(expected.force_deleted) == (["slow"] if is_deleted else [])


def test_on_a_node_that_is_certainly_dead_every_pod_is_deleted_at_once() -> None:
    expected = of(GuardedPod(pod=pod("web"), budgets=(budget(),)), pod("api"), node=DEAD)

    assert names(expected.force_deleted) == ["api", "web"]
    assert [each.deleted_at for each in expected.blocked] == [NOW]
