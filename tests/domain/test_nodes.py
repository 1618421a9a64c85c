import dataclasses
import datetime as dt

import pytest

from queue_processor.domain import nodes
from queue_processor.domain.events import EventKind
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.nodes import Mark, NodeView, Taint, TaintEffect

NOON = dt.datetime(2026, 8, 27, 12, 0, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
SPOT_TAINT = Taint(key="queue-processor/spot-interruption", effect="NoSchedule")
FRESH = NodeView(
    name=NodeName("node-1"),
    uid="uid-1",
    resource_version="1",
    instance_id=InstanceId("i-1234567890abcdef0"),
    is_ready=True,
    is_unschedulable=False,
    taints=(),
    annotations={},
)
MARKED = dataclasses.replace(
    FRESH,
    is_unschedulable=True,
    taints=(SPOT_TAINT,),
    annotations={
        nodes.EVENT_ID_ANNOTATION: "event-1",
        nodes.KIND_ANNOTATION: "spot_interruption",
        nodes.DEADLINE_ANNOTATION: NOON.isoformat(),
        nodes.CORDONED_ANNOTATION: "true",
    },
)
MARK = Mark(
    taint=EventKind.SPOT_INTERRUPTION,
    event_id="event-1",
    kind=EventKind.SPOT_INTERRUPTION,
    deadline_at=NOON,
    effect=TaintEffect.NO_SCHEDULE,
)


def annotated(**changes: str) -> NodeView:
    return dataclasses.replace(
        MARKED,
        annotations={
            **MARKED.annotations,
            **{f"queue-processor/{name.replace('_', '-')}": text for name, text in changes.items()},
        },
    )


def test_a_mark_adds_to_a_node_that_nobody_touched() -> None:
    assert MARK.adds_to(FRESH)


def test_a_mark_adds_nothing_to_a_node_that_carries_it() -> None:
    assert not MARK.adds_to(MARKED)


def test_a_mark_adds_to_a_node_that_somebody_uncordoned() -> None:
    assert MARK.adds_to(dataclasses.replace(MARKED, is_unschedulable=False))


def test_a_mark_adds_to_a_node_that_lost_its_taint() -> None:
    assert MARK.adds_to(dataclasses.replace(MARKED, taints=()))


def test_a_mark_of_another_kind_adds_its_own_taint() -> None:
    joined = dataclasses.replace(MARK, taint=EventKind.REBALANCE_RECOMMENDATION)

    assert joined.adds_to(MARKED)


def test_a_mark_of_another_event_adds_its_id() -> None:
    assert dataclasses.replace(MARK, event_id="event-2").adds_to(MARKED)


def test_a_mark_with_an_earlier_deadline_adds_it() -> None:
    assert dataclasses.replace(MARK, deadline_at=NOON - HOUR).adds_to(MARKED)


def test_a_mark_with_a_later_deadline_does_not_move_the_one_on_the_node() -> None:
    assert not dataclasses.replace(MARK, deadline_at=NOON + HOUR).adds_to(MARKED)


@pytest.mark.parametrize("text", ["", "soon", "2026-08-27", "2026-08-27T12:00:00", "12:00"])
def test_a_mark_replaces_a_deadline_that_cannot_be_read(text: str) -> None:
    assert MARK.adds_to(annotated(deadline=text))


def test_the_deadline_on_a_node_is_read_for_the_event_that_wrote_it() -> None:
    assert MARKED.marked_deadline("event-1") == NOON
    assert MARKED.marked_deadline("event-2") is None
    assert FRESH.marked_deadline("event-1") is None


@pytest.mark.parametrize("text", ["", "soon", "2026-08-27T12:00:00", "\ud800", "2026-13-01T00:00Z"])
def test_a_deadline_that_says_no_moment_is_none(text: str) -> None:
    assert annotated(deadline=text).marked_deadline("event-1") is None


def test_a_new_taint_joins_those_that_are_there() -> None:
    other = Taint(key="team", effect="NoSchedule", value="a")
    timed = Taint(key="team", effect="NoExecute", added_at="2026-08-27T12:00:00Z")
    node = dataclasses.replace(FRESH, taints=(other, timed))

    assert node.tainted_with(SPOT_TAINT) == (other, timed, SPOT_TAINT)
    assert node.taints == (other, timed)


def test_a_taint_replaces_its_like_and_no_other() -> None:
    same_key = dataclasses.replace(SPOT_TAINT, effect="NoExecute")
    node = dataclasses.replace(FRESH, taints=(dataclasses.replace(SPOT_TAINT, value="x"), same_key))

    assert node.tainted_with(SPOT_TAINT) == (same_key, SPOT_TAINT)


def test_the_kinds_that_hold_a_node_are_read_from_its_taints() -> None:
    foreign = Taint(key="queue-processor/something-else", effect="NoSchedule")
    change = Taint(key="queue-processor/scheduled-change", effect="NoSchedule")
    node = dataclasses.replace(FRESH, taints=(foreign, SPOT_TAINT, change))

    assert node.holding_kinds == {EventKind.SPOT_INTERRUPTION, EventKind.SCHEDULED_CHANGE}
    assert FRESH.holding_kinds == frozenset()


def test_a_node_remembers_whether_it_was_us_who_cordoned_it() -> None:
    assert MARKED.was_cordoned_by_us
    assert not dataclasses.replace(FRESH, is_unschedulable=True).was_cordoned_by_us


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


def test_a_mark_without_a_taint_holds_the_node_and_is_not_written_again() -> None:
    node = dataclasses.replace(MARKED, taints=())

    assert node.holding_kinds == {EventKind.SPOT_INTERRUPTION}
    assert MARK.adds_to(node)
    assert not dataclasses.replace(MARK, has_taint=False).adds_to(node)
