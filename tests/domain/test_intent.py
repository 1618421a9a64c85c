"""The intent of several events for one node: tables for each rule, and properties of them all."""

import dataclasses
import datetime as dt
import itertools
import random as random_numbers

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queue_processor.domain import intent
from queue_processor.domain.deadlines import Deadline
from queue_processor.domain.events import EventKind
from queue_processor.domain.holds import MOST_HOLDS, Hold, merge
from queue_processor.domain.intent import Intent
from queue_processor.domain.nodes import SHUTDOWN_TAINT, Mark, NodeView, Taint, TaintEffect
from queue_processor.domain.plan import Action, InstanceResult, Plan
from queue_processor.domain.pods import EvictionGroup
from tests.domain import samples

NOON = dt.datetime(2026, 8, 27, 12, 0, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
MINUTE = dt.timedelta(minutes=1)
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
MARGIN = 10 * SECOND
GRACE = 30 * SECOND

NODE = dataclasses.replace(
    samples.NODE,
    created_at=NOON - DAY,
    last_heartbeat_at=NOON - MINUTE,
    ready_since=NOON - HOUR,
)
UNREACHABLE = dataclasses.replace(NODE, is_ready=False, ready_since=None)
SHUT_DOWN = (Taint(key=SHUTDOWN_TAINT, effect="NoSchedule"),)
SPOT = Hold(
    id="spot",
    event_id="spot",
    kind=EventKind.SPOT_INTERRUPTION,
    action=Action.CORDON_AND_DRAIN,
    occurred_at=NOON,
    since=NOON,
    deadline=Deadline(at=NOON + 2 * MINUTE, is_hard=True),
)
REBALANCE = dataclasses.replace(
    SPOT,
    id="rebalance",
    kind=EventKind.REBALANCE_RECOMMENDATION,
    deadline=Deadline(at=NOON + 30 * MINUTE, is_hard=False),
)
CHANGE = dataclasses.replace(
    SPOT,
    id="arn:aws:health:us-east-1::event/1",
    kind=EventKind.SCHEDULED_CHANGE,
    deadline=Deadline(at=NOON + 14 * DAY, is_hard=True),
)
TERMINATION = dataclasses.replace(
    SPOT,
    id="token",
    kind=EventKind.AUTOSCALING_TERMINATION,
    deadline=Deadline(at=NOON + HOUR, is_hard=True, instance_ends_at=NOON + 48 * HOUR),
)
STOPPING = dataclasses.replace(SPOT, id="stopping", kind=EventKind.STATE_CHANGE)
STOPPED = dataclasses.replace(STOPPING, id="stopped", is_instance_gone=True)
CORDON = dataclasses.replace(
    CHANGE, id="cordon", action=Action.CORDON, result=InstanceResult.CORDONED
)


def due(held: Intent, grace: dt.timedelta = GRACE) -> dt.datetime | None:
    return held.delete_blocked_at(grace=grace, force_margin=MARGIN)


# Deadlines.


@pytest.mark.parametrize(
    ("holds", "at"),
    [
        ([], None),
        ([REBALANCE], None),
        ([CORDON], None),
        ([SPOT], NOON + 89 * SECOND),
        ([REBALANCE, SPOT], NOON + 89 * SECOND),
        ([CHANGE, REBALANCE], NOON + 14 * DAY - 31 * SECOND),
        ([CHANGE, SPOT, REBALANCE], NOON + 89 * SECOND),
        ([TERMINATION], NOON + HOUR - 31 * SECOND),
        ([SPOT.ended(InstanceResult.CANCELLED), REBALANCE], None),
        # Only the proof that the instance is dead counts.
        ([STOPPED], None),
        ([STOPPED, CHANGE], NOON + 14 * DAY - 31 * SECOND),
    ],
)
def test_only_a_hard_deadline_of_a_hold_that_drains_overrides_a_budget(
    holds: list[Hold], at: dt.datetime | None
) -> None:
    for order in itertools.permutations(holds):
        assert due(Intent(holds=order)) == at


def test_each_hold_ends_at_its_own_deadline() -> None:
    held = Intent(holds=(CHANGE, REBALANCE, SPOT))

    assert held.next_end_at(GRACE) == NOON + 2 * MINUTE
    assert held.over(NOON + MINUTE, longest_grace=GRACE) == ()
    assert held.over(NOON + 2 * MINUTE, longest_grace=GRACE) == (SPOT,)
    assert held.over(NOON + 30 * MINUTE, longest_grace=GRACE) == (REBALANCE, SPOT)
    assert intent.result_at_end(SPOT) is InstanceResult.PAST_DEADLINE
    assert intent.result_at_end(REBALANCE) is InstanceResult.GAVE_UP


def test_a_hold_that_ended_keeps_the_node_and_its_taint_but_drains_no_more() -> None:
    held = Intent(holds=(SPOT.ended(InstanceResult.DRAINED), CORDON))

    mark = Mark(holds=held.holds, ruling=held.ruling, effect=TaintEffect.NO_SCHEDULE)
    assert mark.kinds == (EventKind.SPOT_INTERRUPTION, EventKind.SCHEDULED_CHANGE)
    assert held.draining == ()
    assert held.earliest_at is None
    assert held.instance_ends_at is None
    assert held.turn_at(EvictionGroup.CRITICAL) is None


@pytest.mark.parametrize(
    ("holds", "ruling"),
    [
        ([REBALANCE, SPOT], SPOT),
        ([CHANGE, REBALANCE], CHANGE),
        ([CHANGE, TERMINATION], TERMINATION),
        ([SPOT.ended(InstanceResult.DRAINED), REBALANCE], REBALANCE),
        ([CORDON], CORDON),
    ],
)
def test_people_see_the_hold_with_the_earliest_hard_deadline_of_those_that_drain(
    holds: list[Hold], ruling: Hold
) -> None:
    for order in itertools.permutations(holds):
        assert Intent(holds=order).ruling == ruling
    assert Intent().ruling is None


# The order of pods.


@pytest.mark.parametrize(
    ("holds", "group", "at"),
    [
        ([SPOT], EvictionGroup.ORDINARY, NOON),
        ([SPOT], EvictionGroup.CRITICAL, NOON + MINUTE),
        ([SPOT], EvictionGroup.OURSELVES, NOON + 90 * SECOND),
        ([REBALANCE], EvictionGroup.CRITICAL, NOON + 15 * MINUTE),
        # The time is reserved out of what the hold has, not out of what the first one had.
        (
            [
                REBALANCE,
                dataclasses.replace(
                    SPOT,
                    since=NOON + 5 * MINUTE,
                    deadline=Deadline(at=NOON + 7 * MINUTE, is_hard=True),
                ),
            ],
            EvictionGroup.CRITICAL,
            NOON + 6 * MINUTE,
        ),
        ([CHANGE, REBALANCE], EvictionGroup.OURSELVES, NOON + 22.5 * MINUTE),
    ],
)
def test_groups_wait_for_each_other_until_the_next_end_needs_the_time(
    holds: list[Hold], group: EvictionGroup, at: dt.datetime
) -> None:
    for order in itertools.permutations(holds):
        assert Intent(holds=order).turn_at(group) == at


# Evidence.


@pytest.mark.parametrize(
    ("hold", "node", "is_dead"),
    [
        (STOPPED, UNREACHABLE, True),
        (STOPPED, dataclasses.replace(UNREACHABLE, last_heartbeat_at=NOON), True),
        (STOPPED, dataclasses.replace(UNREACHABLE, last_heartbeat_at=None, created_at=None), True),
        (STOPPED, dataclasses.replace(UNREACHABLE, last_heartbeat_at=NOON + SECOND), False),
        (STOPPED, dataclasses.replace(UNREACHABLE, created_at=NOON + HOUR), False),
        (STOPPED, NODE, False),
        (STOPPING, UNREACHABLE, False),
        (SPOT, UNREACHABLE, False),
        (TERMINATION, UNREACHABLE, False),
        (SPOT, dataclasses.replace(UNREACHABLE, taints=SHUT_DOWN), True),
        (SPOT, dataclasses.replace(NODE, taints=SHUT_DOWN), False),
    ],
)
def test_an_instance_is_dead_by_evidence_only(hold: Hold, node: NodeView, *, is_dead: bool) -> None:
    assert intent.intent_of([hold], node).is_dead is is_dead


@pytest.mark.parametrize(
    ("hold", "node", "is_refuted"),
    [
        (STOPPED, NODE, False),
        (STOPPED, dataclasses.replace(NODE, last_heartbeat_at=NOON), False),
        (STOPPED, dataclasses.replace(NODE, last_heartbeat_at=NOON + SECOND), True),
        (STOPPED, dataclasses.replace(NODE, ready_since=NOON + SECOND), True),
        (STOPPED, dataclasses.replace(UNREACHABLE, last_heartbeat_at=NOON + HOUR), False),
        # An instance that is stopping has a kubelet for a while.
        (STOPPING, dataclasses.replace(NODE, last_heartbeat_at=NOON + SECOND), False),
        (STOPPING, dataclasses.replace(NODE, ready_since=NOON + 5 * MINUTE), True),
        (SPOT, dataclasses.replace(NODE, ready_since=NOON + 5 * MINUTE), False),
        (CHANGE, dataclasses.replace(NODE, ready_since=NOON + 5 * MINUTE), False),
    ],
)
def test_a_node_that_lives_refutes_the_end_of_its_instance(
    hold: Hold, node: NodeView, *, is_refuted: bool
) -> None:
    assert intent.is_refuted(hold, node) is is_refuted
    assert intent.intent_of([hold, SPOT], node).holds == ((SPOT,) if is_refuted else (hold, SPOT))


# What ends a hold.


def cancellation(
    kind: EventKind, hold_id: str = "x", *, occurred_at: dt.datetime = NOON + HOUR
) -> Plan:
    return Plan(
        event_id="end",
        hold_id=hold_id,
        kind=kind,
        occurred_at=occurred_at,
        since=occurred_at,
        action=Action.UNCORDON,
        instance_id=NODE.instance_id,
        node_name=NODE.name,
        deadline=Deadline(at=occurred_at, is_hard=False),
    )


@pytest.mark.parametrize(
    ("plan", "ended"),
    [
        (cancellation(EventKind.SCHEDULED_CHANGE, CHANGE.id), {CHANGE.id}),
        (cancellation(EventKind.SCHEDULED_CHANGE, "another change"), set()),
        # The stop was what the Spot interruption had announced.
        (cancellation(EventKind.STATE_CHANGE), {"spot", "stopping", "stopped"}),
        (cancellation(EventKind.STATE_CHANGE, occurred_at=NOON + MINUTE), {"stopping", "stopped"}),
        (cancellation(EventKind.STATE_CHANGE, occurred_at=NOON - MINUTE), set()),
    ],
)
def test_an_event_ends_the_holds_that_it_is_about(plan: Plan, ended: set[str]) -> None:
    holds = [SPOT, REBALANCE, CHANGE, TERMINATION, STOPPING, STOPPED]

    assert intent.cancelled_by(plan, holds, NODE) == ended
    if plan.kind is EventKind.STATE_CHANGE:
        assert intent.cancelled_by(plan, holds, UNREACHABLE) == set()


def test_a_hold_of_which_only_the_kind_is_certain_ends_with_any_change() -> None:
    rebuilt = dataclasses.replace(CHANGE, id="scheduled_change")

    plan = cancellation(EventKind.SCHEDULED_CHANGE, CHANGE.id)

    assert intent.cancelled_by(plan, [rebuilt, SPOT], NODE) == {"scheduled_change"}


# What several holds have in common.


MOMENTS = st.integers(0, 20 * 24 * 3600).map(lambda seconds: NOON + seconds * SECOND)


@st.composite
def holds_of_a_node(draw: st.DrawFn) -> list[Hold]:
    drawn = []
    for number in range(draw(st.integers(0, 6))):
        since = draw(MOMENTS)
        at = since + draw(st.integers(1, 30 * 24 * 3600)) * SECOND
        kind = draw(st.sampled_from(EventKind))
        ends_at = draw(st.none() | st.integers(0, 48 * 3600).map(lambda s: s * SECOND))
        drawn.append(
            Hold(
                id=str(number),
                event_id=str(number),
                kind=kind,
                action=draw(st.sampled_from([Action.CORDON, Action.CORDON_AND_DRAIN])),
                occurred_at=draw(MOMENTS),
                since=since,
                deadline=Deadline(
                    at=at,
                    is_hard=draw(st.booleans()),
                    instance_ends_at=None if ends_at is None else at + ends_at,
                ),
                is_instance_gone=kind is EventKind.STATE_CHANGE and draw(st.booleans()),
                result=draw(st.none() | st.sampled_from(InstanceResult)),
            )
        )
    return drawn


@st.composite
def nodes(draw: st.DrawFn) -> NodeView:
    is_ready = draw(st.booleans())
    return dataclasses.replace(
        NODE,
        is_ready=is_ready,
        created_at=draw(st.none() | MOMENTS),
        last_heartbeat_at=draw(st.none() | MOMENTS),
        ready_since=draw(st.none() | MOMENTS) if is_ready else None,
        taints=draw(st.sampled_from([(), SHUT_DOWN])),
    )


@given(holds_of_a_node(), nodes(), st.randoms(use_true_random=False))
def test_the_order_in_which_events_come_makes_no_difference(
    holds: list[Hold], node: NodeView, random: random_numbers.Random
) -> None:
    shuffled = random.sample(holds, len(holds))
    one, other = intent.intent_of(holds, node), intent.intent_of(shuffled, node)

    assert set(one.holds) == set(other.holds)
    assert due(one) == due(other)
    assert one.is_dead == other.is_dead
    assert one.next_end_at(GRACE) == other.next_end_at(GRACE)
    assert [one.turn_at(group) for group in EvictionGroup] == [
        other.turn_at(group) for group in EvictionGroup
    ]


@given(holds_of_a_node(), nodes())
def test_one_more_event_never_postpones_anything(holds: list[Hold], node: NodeView) -> None:
    everything = intent.intent_of(holds, node)
    for fewer in itertools.combinations(holds, max(len(holds) - 1, 0)):
        less = intent.intent_of(fewer, node)
        for earlier, later in (
            (due(everything), due(less)),
            (everything.next_end_at(GRACE), less.next_end_at(GRACE)),
            (everything.instance_ends_at, less.instance_ends_at),
        ):
            assert later is None or (earlier is not None and earlier <= later)
        assert everything.is_dead or not less.is_dead


@given(holds_of_a_node(), nodes())
def test_no_budget_is_overridden_without_a_hard_deadline_of_a_drain(
    holds: list[Hold], node: NodeView
) -> None:
    held = intent.intent_of(holds, node)
    at = due(held)
    if at is not None:
        assert any(
            hold.is_draining and hold.deadline.is_hard and at >= hold.deadline.at - MINUTE
            for hold in holds
        )


@given(holds_of_a_node(), nodes())
def test_a_node_that_is_ready_is_never_dead(holds: list[Hold], node: NodeView) -> None:
    assert not (intent.intent_of(holds, node).is_dead and node.is_ready)


@given(holds_of_a_node(), holds_of_a_node())
def test_of_two_versions_of_a_hold_the_newer_stays(older: list[Hold], newer: list[Hold]) -> None:
    merged = {hold.id: hold for hold in merge(older, newer)}

    assert merged == {hold.id: hold for hold in older} | {hold.id: hold for hold in newer}


def test_a_node_has_a_limited_number_of_holds_and_keeps_the_urgent_ones() -> None:
    many = [
        dataclasses.replace(
            SPOT,
            id=str(number),
            deadline=Deadline(at=NOON + number * MINUTE, is_hard=True),
            result=InstanceResult.DRAINED if number < 10 else None,
        )
        for number in range(30)
    ]

    kept = merge(many[:20], many[20:])

    assert [hold.id for hold in kept] == [str(number) for number in range(10, 10 + MOST_HOLDS)]
