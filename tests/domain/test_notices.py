import datetime as dt
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queue_processor.domain import deadlines, errors, notices
from queue_processor.domain.events import EventKind, InterruptionEvent
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.notices import Notice

NOW = dt.datetime(2026, 11, 29, 12, 0, tzinfo=dt.UTC)
INSTANCE = InstanceId("i-1234567890abcdef0")
TIMEOUTS = deadlines.DrainTimeouts(soft=dt.timedelta(minutes=30), lifecycle=dt.timedelta(hours=1))

SPOT = notices.annotation_name(EventKind.SPOT_INTERRUPTION)
REBALANCE = notices.annotation_name(EventKind.REBALANCE_RECOMMENDATION)
TERMINATION = notices.annotation_name(EventKind.AUTOSCALING_TERMINATION)
CHANGE_ID = "instance-event-0d59937288b749b32"
CHANGE = notices.annotation_name(EventKind.SCHEDULED_CHANGE, change_id=CHANGE_ID)

# From Python 3.13 on, JSON of the length of a notice is never nested too deeply.
TOO_DEEP = "nested too deeply" if sys.version_info < (3, 13) else "the notice: not JSON"

INSTANCE_ACTION = '{"action": "terminate", "time": "2026-11-29T12:01:50Z"}'
# As the EC2 user guide prints them, with another date.
SCHEDULED_EVENTS = """[
  {
    "NotBefore" : "21 Jan 2027 09:00:43 GMT",
    "Code" : "system-reboot",
    "Description" : "scheduled reboot",
    "EventId" : "instance-event-0d59937288b749b32",
    "NotAfter" : "21 Jan 2027 09:17:23 GMT",
    "State" : "active"
  }
]"""
CHANGE_STARTS = dt.datetime(2027, 1, 21, 9, 0, 43, tzinfo=dt.UTC)


def value_of(body: str, **fields: object) -> str:
    return json.dumps(
        {"instance": INSTANCE, "seen": "2026-11-29T11:59:58Z", "said": body, **fields}
    )


def parse(annotation: str, value: str) -> InterruptionEvent:
    return notices.parse(annotation, value, instance_id=INSTANCE, received_at=NOW)


def reason_of(annotation: str, value: str) -> str:
    with pytest.raises(errors.MalformedMessage) as caught:
        parse(annotation, value)
    return str(caught.value)


def deadline_of(event: InterruptionEvent) -> deadlines.Deadline:
    return deadlines.deadline_for(event, now=NOW, timeouts=TIMEOUTS)


def test_a_spot_interruption_has_the_deadline_that_instance_metadata_states() -> None:
    event = parse(SPOT, value_of(INSTANCE_ACTION))

    assert event == InterruptionEvent(
        event_id=f"imds-spot-interruption-{INSTANCE}-2026-11-29T12:01:50Z",
        kind=EventKind.SPOT_INTERRUPTION,
        instance_ids=(INSTANCE,),
        occurred_at=NOW - dt.timedelta(seconds=2),
        scheduled_at=NOW + dt.timedelta(seconds=110),
    )
    assert deadline_of(event) == deadlines.Deadline(
        at=NOW + dt.timedelta(seconds=110), is_hard=True
    )


def test_the_older_path_and_the_newer_one_make_the_same_event() -> None:
    older = parse(SPOT, value_of("2026-11-29T12:01:50Z"))

    assert older == parse(SPOT, value_of(INSTANCE_ACTION))


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        pytest.param("2026-11-29T11:00:00Z", 30, id="past"),
        pytest.param("2026-11-29T12:10:00Z", 600, id="a drill of ten minutes"),
        pytest.param("2199-01-01T00:00:00Z", 118, id="far ahead"),
    ],
)
def test_the_time_of_a_spot_interruption_is_believed_within_an_hour(
    time: str, seconds: int
) -> None:
    event = parse(SPOT, value_of(json.dumps({"action": "stop", "time": time})))

    assert deadline_of(event).at == NOW + dt.timedelta(seconds=seconds)


def test_a_rebalance_recommendation_has_no_deadline_of_its_own() -> None:
    event = parse(REBALANCE, value_of('{"noticeTime": "2026-11-29T11:58:00Z"}'))

    assert event.event_id == f"imds-rebalance-recommendation-{INSTANCE}-2026-11-29T11:58:00Z"
    assert event.occurred_at == NOW - dt.timedelta(minutes=2)
    assert not deadline_of(event).is_hard


def test_a_termination_by_its_group_names_no_lifecycle_action() -> None:
    event = parse(TERMINATION, value_of("Terminated"))

    assert event.kind is EventKind.AUTOSCALING_TERMINATION
    assert event.lifecycle_action is None


def test_a_scheduled_change_is_identified_by_its_event_id() -> None:
    body = notices.parse_scheduled_events(SCHEDULED_EVENTS)[CHANGE_ID]
    event = parse(CHANGE, value_of(body))

    assert event.kind is EventKind.SCHEDULED_CHANGE
    assert event.hold_id == CHANGE_ID
    assert event.scheduled_at == CHANGE_STARTS
    assert not event.is_cancelled


def test_a_postponed_change_is_another_event_about_the_same_change() -> None:
    body = notices.parse_scheduled_events(SCHEDULED_EVENTS)[CHANGE_ID]
    first = parse(CHANGE, value_of(body))
    postponed = parse(CHANGE, value_of(body.replace("21 Jan 2027 09:00", "22 Jan 2027 09:00")))

    assert postponed.hold_id == first.hold_id
    assert postponed.event_id != first.event_id


@pytest.mark.parametrize("state", ["canceled", "completed"])
def test_a_change_that_is_over_cancels_itself(state: str) -> None:
    body = notices.parse_scheduled_events(SCHEDULED_EVENTS.replace('"active"', f'"{state}"'))[
        CHANGE_ID
    ]

    assert notices.is_over(body)
    assert parse(CHANGE, value_of(body)).is_cancelled


def test_a_change_that_is_not_listed_any_more_is_cancelled() -> None:
    body = notices.parse_scheduled_events(SCHEDULED_EVENTS)[CHANGE_ID]
    notice = Notice(
        annotation=CHANGE, instance_id=INSTANCE, seen_at=NOW, body=body, is_cancelled=True
    )

    assert not notices.is_over(body)
    assert parse(CHANGE, notice.to_json()).is_cancelled


def test_no_scheduled_events_is_an_empty_list() -> None:
    assert notices.parse_scheduled_events("[]") == {}


@pytest.mark.parametrize(
    ("annotation", "value", "reason"),
    [
        pytest.param(SPOT, "", "the notice: not JSON", id="empty"),
        pytest.param(SPOT, "<html></html>", "the notice: not JSON", id="HTML"),
        pytest.param(SPOT, '["a"]', "not a JSON object", id="a list"),
        pytest.param(SPOT, "[" * 4000, TOO_DEEP, id="nested"),
        pytest.param(SPOT, "x" * 10_000, "10000 characters", id="long"),
        pytest.param(SPOT, '{"said": ""}', "instance: missing", id="without an instance"),
        pytest.param(SPOT, value_of("{}", instance="node-1"), "no instance id", id="a name"),
        pytest.param(
            SPOT,
            value_of(INSTANCE_ACTION, instance="i-00000000000000000"),
            f"instance: i-00000000000000000, and the Node runs on {INSTANCE}",
            id="another instance",
        ),
        pytest.param(SPOT, value_of("x" * 1025), "longer than 1024 bytes", id="a long body"),
        pytest.param(SPOT, value_of("<html>"), "instance-action: not JSON", id="a body of HTML"),
        pytest.param(SPOT, value_of('{"action": "stop"'), "not JSON", id="a truncated body"),
        pytest.param(SPOT, value_of('{"time": "x"}'), "action: missing", id="no action"),
        pytest.param(
            SPOT, value_of('{"action": "stop", "time": "soon"}'), "time that can be", id="no time"
        ),
        pytest.param(SPOT, value_of("{}", seen=3), "seen: a int", id="a time that is a number"),
        pytest.param(REBALANCE, value_of("{}"), "noticeTime: missing", id="no notice time"),
        pytest.param(REBALANCE, value_of('{"noticeTime": "x"}'), "no time", id="a bad time"),
        pytest.param(TERMINATION, value_of("InService"), "takes no node away", id="in service"),
        pytest.param(CHANGE, value_of("{}"), "EventId: missing", id="no event id"),
        pytest.param(CHANGE, value_of('{"EventId": "a/b"}'), "is no id", id="a bad event id"),
        pytest.param(
            notices.ANNOTATION_PREFIX + "state-change",
            value_of("{}"),
            "the annotation of no kind",
            id="another kind",
        ),
    ],
)
def test_what_is_not_a_notice_is_malformed(annotation: str, value: str, reason: str) -> None:
    assert reason in reason_of(annotation, value)


@pytest.mark.parametrize(
    "body", ["<html>", "{}", '["a"]', "[{}]", '[{"EventId": "/"}]', "[" * 9000, ""]
)
def test_what_is_not_a_list_of_scheduled_events_is_malformed(body: str) -> None:
    with pytest.raises(errors.MalformedMessage):
        notices.parse_scheduled_events(body)


@given(annotation=st.sampled_from([SPOT, REBALANCE, TERMINATION, CHANGE]), value=st.text())
def test_no_annotation_raises_anything_else(annotation: str, value: str) -> None:
    for each in (value, value_of(value)):
        try:
            parse(annotation, each)
        except errors.MalformedMessage:
            continue


@given(
    st.fixed_dictionaries(
        {key: st.text() for key in ("NotBefore", "NotAfter", "Code", "Description", "State")}
    )
)
def test_a_listed_event_fits_into_a_notice(fields: dict[str, str]) -> None:
    listed = notices.parse_scheduled_events(json.dumps([{**fields, "EventId": CHANGE_ID}]))

    assert parse(CHANGE, value_of(listed[CHANGE_ID])).change_id == CHANGE_ID
