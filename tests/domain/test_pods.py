import dataclasses
import datetime as dt

import pytest

from queue_processor.domain import pods
from queue_processor.domain.pods import EvictionGroup, PodRef, PodVerdict, PodView

POD = PodView(ref=PodRef(namespace="shop", name="web-1", uid="uid-1"), owner_kind="ReplicaSet")


@pytest.mark.parametrize(
    "owner_kind", ["ReplicaSet", "StatefulSet", "Job", "Node", "MyOperator", "daemonset", "", None]
)
def test_a_pod_of_any_owner_but_a_daemon_set_is_evicted(owner_kind: str | None) -> None:
    assert pods.verdict_on(dataclasses.replace(POD, owner_kind=owner_kind)) is PodVerdict.EVICT


@pytest.mark.parametrize(
    "pod",
    [
        dataclasses.replace(POD, claims=("data",)),
        dataclasses.replace(POD, is_terminating=True),
        dataclasses.replace(POD, priority_class="system-node-critical"),
        dataclasses.replace(POD, grace=dt.timedelta()),
        dataclasses.replace(POD, grace=dt.timedelta(days=1)),
    ],
)
def test_nothing_else_about_a_pod_keeps_it_on_the_node(pod: PodView) -> None:
    assert pods.verdict_on(pod).is_moved


@pytest.mark.parametrize(
    ("pod", "verdict", "runs_on"),
    [
        (dataclasses.replace(POD, is_mirror=True), PodVerdict.SKIP_MIRROR, True),
        (dataclasses.replace(POD, is_finished=True), PodVerdict.SKIP_FINISHED, False),
        (dataclasses.replace(POD, owner_kind="DaemonSet"), PodVerdict.SKIP_DAEMON_SET, True),
    ],
)
def test_a_pod_that_a_drain_cannot_or_need_not_move_is_skipped_with_a_reason(
    pod: PodView, verdict: PodVerdict, *, runs_on: bool
) -> None:
    assert pods.verdict_on(pod) is verdict
    assert not verdict.is_moved
    assert verdict.is_kept is runs_on
    assert verdict.value.startswith("skip: ")


def test_a_pod_for_which_several_reasons_hold_is_skipped_once() -> None:
    pod = dataclasses.replace(POD, is_mirror=True, is_finished=True, owner_kind="DaemonSet")

    assert not pods.verdict_on(pod).is_moved


@pytest.mark.parametrize("priority_class", ["", "high", "system-cluster-critical-ish"])
def test_a_pod_of_an_ordinary_priority_goes_first(priority_class: str) -> None:
    pod = dataclasses.replace(POD, priority_class=priority_class)

    assert pods.group_of(pod, own_pod=("system", "queue-processor-1")) is EvictionGroup.ORDINARY


@pytest.mark.parametrize("priority_class", ["system-cluster-critical", "system-node-critical"])
def test_a_critical_pod_goes_after_the_ordinary_ones(priority_class: str) -> None:
    pod = dataclasses.replace(POD, priority_class=priority_class)

    assert pods.group_of(pod, own_pod=None) is EvictionGroup.CRITICAL
    assert EvictionGroup.ORDINARY < EvictionGroup.CRITICAL


@pytest.mark.parametrize("priority_class", ["", "system-cluster-critical"])
def test_our_own_pod_goes_last_whatever_its_priority(priority_class: str) -> None:
    pod = dataclasses.replace(POD, priority_class=priority_class)

    assert pods.group_of(pod, own_pod=("shop", "web-1")) is EvictionGroup.OURSELVES
    assert max(EvictionGroup) is EvictionGroup.OURSELVES


@pytest.mark.parametrize("own_pod", [None, ("shop", "web-2"), ("system", "web-1")])
def test_a_pod_that_only_resembles_ours_is_not_ours(own_pod: tuple[str, str] | None) -> None:
    assert pods.group_of(POD, own_pod=own_pod) is EvictionGroup.ORDINARY


def test_a_pod_is_named_as_people_name_it() -> None:
    assert str(POD.ref) == "shop/web-1"


def test_a_pod_that_came_back_under_the_same_name_is_another_pod() -> None:
    assert dataclasses.replace(POD.ref, uid="uid-2") != POD.ref


def test_a_drain_keeps_time_for_every_group_and_less_for_later_ones() -> None:
    kept = [pods.TIME_KEPT[group] for group in sorted(EvictionGroup)]

    assert kept == sorted(kept, reverse=True)
    assert kept[0] == 1.0
    assert kept[-1] > 0
