"""Parsing is the inverse of composing: what goes in comes out, whatever the kind."""

import datetime as dt
import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from queue_processor.domain import errors, event_builder, parsing
from queue_processor.domain.aws_events import Origin
from queue_processor.domain.event_builder import ChangeStatus, EventOptions
from queue_processor.domain.events import (
    BodyShape,
    EventKind,
    InstanceState,
    InterruptionEvent,
    LifecycleHook,
    LifecycleTransition,
)

INSTANCE = "i-0123456789abcdef0"
NOON = dt.datetime(2026, 8, 27, 12, 0, tzinfo=dt.UTC)
LATER = NOON + dt.timedelta(seconds=1)
CHINA = Origin(
    time=NOON, event_id="event-1", region="cn-north-1", account="123456789012", partition="aws-cn"
)
HOOK = LifecycleHook(group="workers", name="drain")
# What every kind can be made from.
EVERYTHING = EventOptions(state=InstanceState.STOPPING, hook=HOOK, starts_in=dt.timedelta(hours=3))
KINDS = strategies.sampled_from(EventKind)
PARTICULARS = strategies.builds(
    EventOptions,
    state=strategies.sampled_from(InstanceState),
    hook=strategies.builds(
        LifecycleHook,
        group=strategies.text(strategies.characters(codec="utf-8"), min_size=1),
        name=strategies.text(strategies.characters(codec="utf-8"), min_size=1),
    ),
    starts_in=strategies.integers(0, 10**7).map(lambda seconds: dt.timedelta(seconds=seconds)),
    status=strategies.sampled_from(ChangeStatus),
)
ORIGINS = strategies.builds(
    Origin,
    time=strategies.integers(0, 10**9).map(lambda seconds: NOON - dt.timedelta(seconds=seconds)),
    event_id=strategies.uuids().map(str),
    region=strategies.sampled_from(("eu-west-1", "us-gov-east-1")),
    account=strategies.from_regex(r"\A[0-9]{12}\Z"),
    partition=strategies.sampled_from(("aws", "aws-us-gov")),
)
INSTANCES = strategies.from_regex(r"\Ai-([0-9a-f]{8}|[0-9a-f]{17})\Z")


def parsed(event: dict[str, object]) -> InterruptionEvent:
    found = parsing.parse(json.dumps(event), message_id="m", sent_at=LATER)
    assert isinstance(found, InterruptionEvent)
    return found


def made(kind: EventKind, particulars: EventOptions = EVERYTHING) -> dict[str, Any]:
    return event_builder.build_event(kind, INSTANCE, particulars, origin=CHINA)


@hypothesis.given(KINDS, INSTANCES, PARTICULARS, ORIGINS)
def test_what_is_composed_is_what_is_parsed(
    kind: EventKind, instance_id: str, particulars: EventOptions, origin: Origin
) -> None:
    event = parsed(event_builder.build_event(kind, instance_id, particulars, origin=origin))

    assert (event.kind, event.instance_ids) == (kind, (instance_id,))
    assert (event.event_id, event.occurred_at) == (origin.event_id, origin.time)
    assert event.shape is BodyShape.EVENTBRIDGE
    if kind is EventKind.STATE_CHANGE:
        assert event.instance_state is particulars.state
    if kind is EventKind.SCHEDULED_CHANGE:
        assert event.scheduled_at == origin.time + particulars.starts_in
        assert event.is_cancelled == (particulars.status is ChangeStatus.CLOSED)
    if event.lifecycle_action is not None:
        assert event.lifecycle_action.hook == particulars.hook
        assert event.lifecycle_action.instance_id == instance_id


@pytest.mark.parametrize(
    ("kind", "transition"),
    [
        (EventKind.AUTOSCALING_TERMINATION, LifecycleTransition.TERMINATING),
        (EventKind.AUTOSCALING_LAUNCH, LifecycleTransition.LAUNCHING),
    ],
)
def test_a_lifecycle_action_goes_its_way_and_has_a_token_of_its_own(
    kind: EventKind, transition: LifecycleTransition
) -> None:
    action = parsed(made(kind)).lifecycle_action
    other = event_builder.build_event(
        kind, INSTANCE, EVERYTHING, origin=Origin(NOON, "event-2", "cn-north-1", "123456789012")
    )

    assert action is not None
    assert action.transition is transition
    assert action.token
    assert json.dumps(other).count(action.token) == 0


@pytest.mark.parametrize("kind", EventKind)
def test_an_event_says_where_it_arose(kind: EventKind) -> None:
    event = made(kind)

    assert (event["region"], event["account"]) == ("cn-north-1", "123456789012")
    assert not [name for name in event["resources"] if name.startswith("arn:aws:")]


def test_a_reservation_ends_two_minutes_after_the_event() -> None:
    event = parsed(made(EventKind.CAPACITY_RESERVATION_INTERRUPTION))

    assert event.scheduled_at == NOON + dt.timedelta(minutes=2)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (EventKind.STATE_CHANGE, "state_change needs a state: stopping, shutting-down"),
        (EventKind.AUTOSCALING_TERMINATION, "autoscaling_termination needs a group and a hook"),
        (EventKind.AUTOSCALING_LAUNCH, "autoscaling_launch needs a group and a hook"),
    ],
)
def test_what_cannot_be_said_for_want_of_particulars_is_refused(kind: EventKind, said: str) -> None:
    with pytest.raises(errors.UsageError, match=said):
        made(kind, EventOptions())
