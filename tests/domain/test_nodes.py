import dataclasses
import datetime as dt

import pytest

from queue_processor.domain import nodes
from queue_processor.domain.deadlines import Deadline
from queue_processor.domain.events import EventKind
from queue_processor.domain.holds import Hold
from queue_processor.domain.nodes import Mark, MarkScope, Taint, TaintEffect
from queue_processor.domain.plan import Action
from tests.domain import samples

NOON = dt.datetime(2026, 8, 27, 12, 0, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
SPOT_TAINT = Taint(key="queue-processor/spot-interruption", effect="NoSchedule")
OUT_OF_SERVICE = Taint(key=nodes.OUT_OF_SERVICE_TAINT, effect="NoExecute", value="nodeshutdown")
FRESH = samples.NODE
HOLD = Hold(
    id="event-1",
    event_id="event-1",
    kind=EventKind.SPOT_INTERRUPTION,
    action=Action.CORDON_AND_DRAIN,
    occurred_at=NOON,
    since=NOON,
    deadline=Deadline(at=NOON, is_hard=True),
)
MARK = Mark(holds=(HOLD,), ruling=HOLD, effect=TaintEffect.NO_SCHEDULE)
NO_MARK = Mark(holds=(), ruling=None, effect=TaintEffect.NO_SCHEDULE)
MARKED = dataclasses.replace(
    FRESH,
    is_unschedulable=True,
    is_excluded=True,
    taints=(SPOT_TAINT,),
    holds=(HOLD,),
    is_cordoned_by_us=True,
    is_excluded_by_us=True,
)


def test_a_mark_differs_from_a_node_that_nobody_touched() -> None:
    assert MARK.differs_from(FRESH)
    assert not NO_MARK.differs_from(FRESH)


def test_a_mark_does_not_differ_from_a_node_that_carries_it() -> None:
    assert not MARK.differs_from(MARKED)
    assert NO_MARK.differs_from(MARKED)


@pytest.mark.parametrize(
    "changed",
    [
        {"is_unschedulable": False},
        {"is_excluded": False},
        {"taints": ()},
        {"taints": (dataclasses.replace(SPOT_TAINT, effect="NoExecute"),)},
        {"holds": ()},
        {"holds": (dataclasses.replace(HOLD, deadline=Deadline(at=NOON - HOUR, is_hard=True)),)},
        {"has_damaged_holds": True},
    ],
)
def test_a_mark_differs_from_a_node_that_somebody_changed(changed: dict[str, object]) -> None:
    assert MARK.differs_from(dataclasses.replace(MARKED, **changed))  # type: ignore[arg-type]


def test_a_mark_without_taints_does_not_differ_from_a_node_without_them() -> None:
    untainted = dataclasses.replace(MARKED, taints=())

    assert not dataclasses.replace(MARK, scope=MarkScope.WITHOUT_TAINTS).differs_from(untainted)


@pytest.mark.parametrize(
    ("scope", "is_unschedulable", "differs"),
    [
        (MarkScope.CORDON_ALONE, False, True),
        (MarkScope.CORDON_ALONE, True, False),
        (MarkScope.NOTHING, False, False),
    ],
)
def test_a_mark_of_which_the_cluster_allows_less_asks_for_less(
    *, scope: MarkScope, is_unschedulable: bool, differs: bool
) -> None:
    node = dataclasses.replace(FRESH, is_unschedulable=is_unschedulable)

    assert dataclasses.replace(MARK, scope=scope).differs_from(node) is differs


def test_the_taints_of_others_stay_as_and_where_they_are() -> None:
    other = Taint(key="team", effect="NoSchedule", value="a")
    timed = Taint(key="team", effect="NoExecute", added_at="2026-08-27T12:00:00Z")
    node = dataclasses.replace(FRESH, taints=(other, timed))

    assert MARK.taints_on(node) == (other, timed, SPOT_TAINT)
    assert MARK.taints_on(dataclasses.replace(FRESH, taints=(SPOT_TAINT, other))) == (
        SPOT_TAINT,
        other,
    )
    assert NO_MARK.taints_on(dataclasses.replace(node, taints=(other, SPOT_TAINT))) == (other,)


def test_a_taint_of_ours_goes_when_no_hold_of_its_kind_is_left() -> None:
    change = Taint(key="queue-processor/scheduled-change", effect="NoSchedule")
    node = dataclasses.replace(MARKED, taints=(change, SPOT_TAINT))

    assert MARK.taints_on(node) == (SPOT_TAINT,)


@pytest.mark.parametrize(
    ("is_ready", "mark", "stays"),
    [
        (False, MARK, True),
        (True, MARK, False),
        (False, NO_MARK, False),
    ],
)
def test_our_out_of_service_taint_stays_while_the_node_is_held_and_not_ready(
    *, is_ready: bool, mark: Mark, stays: bool
) -> None:
    node = dataclasses.replace(
        MARKED, is_ready=is_ready, taints=(OUT_OF_SERVICE,), is_out_of_service_by_us=True
    )

    assert (OUT_OF_SERVICE in mark.taints_on(node)) is stays


def test_an_out_of_service_taint_of_somebody_else_stays() -> None:
    node = dataclasses.replace(FRESH, taints=(OUT_OF_SERVICE,))

    assert NO_MARK.taints_on(node) == (OUT_OF_SERVICE,)
    assert not NO_MARK.differs_from(node)


def test_the_last_sign_of_life_is_the_latest_that_the_node_shows() -> None:
    assert FRESH.last_sign_of_life_at is None
    node = dataclasses.replace(FRESH, created_at=NOON, last_heartbeat_at=NOON + HOUR)
    assert node.last_sign_of_life_at == NOON + HOUR
    ready = dataclasses.replace(node, ready_since=NOON + 2 * HOUR)
    assert ready.last_sign_of_life_at == NOON + 2 * HOUR


@pytest.mark.parametrize(
    ("kind", "taint_key"),
    [
        (EventKind.SPOT_INTERRUPTION, "queue-processor/spot-interruption"),
        (
            EventKind.CAPACITY_RESERVATION_INTERRUPTION,
            "queue-processor/capacity-reservation-interruption",
        ),
        (EventKind.STATE_CHANGE, "queue-processor/state-change"),
    ],
)
def test_a_kind_is_spelt_as_the_key_of_a_taint(kind: EventKind, taint_key: str) -> None:
    assert nodes.taint_key(kind) == taint_key


def test_every_taint_key_is_one_that_kubernetes_takes() -> None:
    assert all(len(nodes.taint_key(kind).partition("/")[2]) <= 63 for kind in EventKind)
    assert len({nodes.taint_key(kind) for kind in EventKind}) == len(EventKind)
