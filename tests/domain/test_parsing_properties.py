import copy
import datetime as dt
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from queue_processor.domain import deadlines, errors, parsing, policy
from queue_processor.domain.events import EventKind, Ignored, InterruptionEvent
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.plan import Action, InstanceReport, InstanceResult, OutcomeKind

SENT = dt.datetime(2026, 8, 27, 12, 0, tzinfo=dt.UTC)
INSTANCE_ID = re.compile(r"i-[0-9a-f]{8,17}")
INSTANCE = "i-1234567890abcdef0"
POLICY = policy.Policy(
    actions={
        kind: Action.AWAIT_READY
        if kind is EventKind.AUTOSCALING_LAUNCH
        else Action.CORDON_AND_DRAIN
        for kind in EventKind
    },
    timeouts=deadlines.DrainTimeouts(
        soft=dt.timedelta(minutes=30), lifecycle=dt.timedelta(hours=1)
    ),
    unknown_instance=policy.UnknownInstancePolicy.DELETE,
    unknown_instance_grace=dt.timedelta(minutes=1),
)


def _with_real_values(event: dict[str, Any]) -> dict[str, Any]:
    """A sample whose placeholders are filled in, so that a change to it is what decides."""
    detail = event.get("detail", event)
    if "instance-id" in detail:
        detail["instance-id"] = INSTANCE
    return event


def _samples() -> list[dict[str, Any]]:
    folder = pathlib.Path(__file__).parents[1] / "data" / "events"
    printed = [
        _with_real_values(json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(folder.glob("*.json"))
    ]
    (pending,) = (event for event in printed if event.get("detail", {}).get("state") == "pending")
    stopped = copy.deepcopy(pending)
    stopped["detail"]["state"] = "stopped"
    return [*printed, stopped]


SAMPLES = _samples()

# Everything that JSON can spell, and what people write where a time or an id belongs.
texts = st.one_of(
    st.text(st.characters(), max_size=20),
    st.text(st.characters(categories=["Cs", "Nd", "Zs"]), max_size=8),
    st.datetimes(timezones=st.none() | st.just(dt.UTC)).map(dt.datetime.isoformat),
    st.from_regex(
        r"[A-Z][a-z]{2}, \d{1,20} Aug \d{1,20} \d\d:\d\d:\d{1,20} [+-]\d{1,20}", fullmatch=True
    ),
    st.sampled_from(
        [
            "",
            "9999-12-31T23:59:59Z",
            "0001-01-01T00:00:00+14:00",
            INSTANCE,
            f"arn:aws:ec2:us-east-1:1:instance/{INSTANCE}",
            "closed",
            "true",
            "WarmPool",
        ]
    ),
)
numbers = st.one_of(st.integers(), st.integers(min_value=10**300, max_value=10**301), st.floats())
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


def _paths(value: object, so_far: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner: list[tuple[str | int, object]] = []
    if isinstance(value, Mapping):
        inner = list(value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        inner = list(enumerate(value))
    found = [(*so_far, key) for key, _ in inner]
    for key, item in inner:
        found += _paths(item, (*so_far, key))
    return found


@st.composite
def mutated_events(draw: st.DrawFn) -> dict[str, Any]:
    event: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(min_value=1, max_value=3))):
        paths = _paths(event)
        if not paths:
            break
        *parents, last = draw(st.sampled_from(paths))
        holder: Any = event
        for key in parents:
            holder = holder[key]
        if draw(st.booleans()):
            holder[last] = draw(values)
        else:
            del holder[last]
    return event


def carry_out(body: str) -> InterruptionEvent | Ignored | None:
    """Do with a body all that is done before the first call to anything; None: malformed."""
    try:
        event = parsing.parse(body, message_id="message-1", sent_at=SENT)
    except errors.MalformedMessage:
        return None
    assert isinstance(event, InterruptionEvent | Ignored)
    assert 0 < len(event.event_id) <= 128
    assert event.event_id.isprintable()
    if isinstance(event, InterruptionEvent):
        check(event)
    return event


def check(event: InterruptionEvent) -> None:
    assert event.instance_ids
    assert len(set(event.instance_ids)) == len(event.instance_ids)
    assert all(INSTANCE_ID.fullmatch(instance_id) for instance_id in event.instance_ids)
    assert event.occurred_at.utcoffset() == dt.timedelta()
    assert event.occurred_at <= SENT
    assert event.scheduled_at is None or event.scheduled_at.utcoffset() == dt.timedelta()
    if event.lifecycle_action is not None:
        assert event.lifecycle_action.hook.group.encode()
        assert event.lifecycle_action.hook.name.encode()
        assert event.lifecycle_action.token is None or event.lifecycle_action.token.encode()
    # A clock that is behind the queue's, one that is not, and a message that lay for days.
    for now in (SENT - dt.timedelta(minutes=5), SENT, SENT + dt.timedelta(days=4)):
        node = NodeView(
            name=NodeName("node-1"),
            uid="uid-1",
            resource_version="1",
            instance_id=event.instance_ids[0],
            is_ready=True,
            is_unschedulable=False,
            taints=(),
        )
        plan = policy.plan_for(event, node, policy=POLICY, now=now)
        assert plan.deadline.at > now
        assert plan.deadline.at.utcoffset() == dt.timedelta()
    reports = [
        InstanceReport(instance_id=instance_id, result=InstanceResult.DRAINED)
        for instance_id in event.instance_ids
    ]
    outcome = policy.outcome_of(event, reports, policy=POLICY, receive_count=1)
    assert outcome.kind is OutcomeKind.DONE


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(st.text(max_size=200))
def test_any_text_is_an_event_or_ignored_or_malformed(body: str) -> None:
    carry_out(body)


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(values)
def test_any_json_is_an_event_or_ignored_or_malformed(value: object) -> None:
    carry_out(json.dumps(value))


@hypothesis.settings(max_examples=600, deadline=None)
@hypothesis.given(mutated_events())
def test_any_change_to_a_real_event_leaves_an_event_or_ignored_or_malformed(
    event: dict[str, Any],
) -> None:
    carry_out(json.dumps(event))


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(mutated_events())
def test_so_does_any_change_to_one_inside_an_sns_notification(event: dict[str, Any]) -> None:
    carry_out(json.dumps({"Type": "Notification", "Message": json.dumps(event)}))


@pytest.mark.parametrize("depth", [10, 400, 850, *range(900, 1000), 50_000])
def test_a_value_may_be_nested_however_deeply(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    for key in ("backupEvent", "service", "startTime", "affectedEntities", "statusCode"):
        detail = {
            "service": "EC2",
            "eventTypeCategory": "scheduledChange",
            "affectedEntities": [{"entityValue": INSTANCE}],
        }
        event = {
            "source": "aws.health",
            "detail-type": "AWS Health Event",
            "detail": detail | {key: "HERE"},
        }
        carry_out(json.dumps(event).replace('"HERE"', deep))


@pytest.mark.parametrize("path", [(), ("detail",), ("detail", "instance-id"), ("time",), ("id",)])
@pytest.mark.parametrize("unit", ["x", "9", "[", "\ud800", "\N{SNOWMAN}", " ", "\\"])
def test_a_mebibyte_anywhere_is_survived(path: tuple[str, ...], unit: str) -> None:
    body = unit * 2**20
    if path:
        event = {
            "source": "aws.ec2",
            "detail-type": "EC2 Spot Instance Interruption Warning",
            "detail": {"instance-id": INSTANCE},
        }
        holder: Any = event
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = body
        body = json.dumps(event)

    carry_out(body)


@pytest.mark.parametrize(
    "number", ["1e999", "-1e999", "NaN", "Infinity", "1" + "0" * 4000, "1" + "0" * 5000, "-0"]
)
@pytest.mark.parametrize("key", ["time", "id", "version", "resources", "detail", "source"])
def test_a_number_of_any_size_is_survived(key: str, number: str) -> None:
    event = {
        "source": "aws.ec2",
        "detail-type": "EC2 Spot Instance Interruption Warning",
        "detail": {"instance-id": INSTANCE},
    }

    carry_out(json.dumps(event | {key: "HERE"}).replace('"HERE"', number))
