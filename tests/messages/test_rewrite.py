import dataclasses
import datetime as dt
import json
import pathlib
import re
from collections.abc import Callable

import hypothesis
import pytest
from hypothesis import strategies as st

from queue_processor.domain import errors, parsing
from queue_processor.domain.events import Ignored, InterruptionEvent
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.messages import QueueMessage
from queue_processor.messages import rewrite
from queue_processor.messages.rewrite import Rewrite

SAMPLES = sorted((pathlib.Path(__file__).parents[1] / "data" / "events").glob("*.json"))
NOW = dt.datetime(2026, 8, 27, 12, 0, 0, 700_000, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
OLD = InstanceId("i-1234567890abcdef0")
NEW = InstanceId("i-0fedcba9876543210")

moments = st.datetimes(
    min_value=dt.datetime(1990, 1, 1),  # noqa: DTZ001 - the zone is given beside it
    max_value=dt.datetime(2090, 1, 1),  # noqa: DTZ001 - the same
    timezones=st.just(dt.UTC),
).map(lambda moment: moment.replace(microsecond=0))


def parse(body: str) -> InterruptionEvent | Ignored:
    return parsing.parse(body, message_id="message-1", sent_at=NOW)


def iso(moment: dt.datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def capacity(happens_at: dt.datetime, ends_at: dt.datetime) -> str:
    return json.dumps(
        {
            "id": "event-1",
            "source": "aws.ec2",
            "detail-type": "EC2 Capacity Reservation Instance Interruption Warning",
            "time": iso(happens_at),
            "detail": {"instance-id": OLD, "instance-termination-time": iso(ends_at)},
        }
    )


def maintenance(happens_at: dt.datetime, starts_at: dt.datetime) -> str:
    return json.dumps(
        {
            "source": "aws.health",
            "detail-type": "AWS Health Event",
            "time": iso(happens_at),
            "detail": {
                "service": "EC2",
                "eventTypeCategory": "scheduledChange",
                "startTime": starts_at.strftime("%a, %d %b %Y %H:%M:%S GMT"),
                "affectedEntities": [{"entityValue": OLD}],
            },
        }
    )


def through_sns(body: str) -> str:
    return json.dumps({"Type": "Notification", "Message": body, "Timestamp": iso(NOW)})


@hypothesis.given(
    moments, moments, moments, st.sampled_from([capacity, maintenance]), st.booleans()
)
def test_an_event_that_is_retimed_happens_now_and_keeps_its_distances(
    happens_at: dt.datetime,
    ends_at: dt.datetime,
    now: dt.datetime,
    build: Callable[[dt.datetime, dt.datetime], str],
    wrapped: bool,  # noqa: FBT001 - hypothesis gives it by position
) -> None:
    body = build(happens_at, ends_at)
    body = through_sns(body) if wrapped else body

    moved = rewrite.shift_times(body, sent_at=None, now=now)

    event = parsing.parse(moved, message_id="m", sent_at=now)
    assert isinstance(event, InterruptionEvent)
    assert event.occurred_at == now
    assert event.scheduled_at == now + (ends_at - happens_at)
    assert event.instance_ids == (OLD,)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_every_sample_stays_the_same_event_but_for_its_times(path: pathlib.Path) -> None:
    body = path.read_text(encoding="utf-8").replace("i-b188560f", OLD)
    sent_at = NOW - dt.timedelta(days=2)

    moved = rewrite.shift_times(body, sent_at=sent_at, now=NOW)

    try:
        before, after = parse(body), parse(moved)
    except errors.MalformedMessage as fault:
        with pytest.raises(errors.MalformedMessage, match=re.escape(str(fault))):
            parse(moved)
        return
    if isinstance(before, InterruptionEvent) and isinstance(after, InterruptionEvent):
        assert NOW - SECOND < after.occurred_at <= NOW
        timeless = {"occurred_at": NOW, "scheduled_at": None}
        assert dataclasses.replace(before, **timeless) == dataclasses.replace(after, **timeless)  # type: ignore[arg-type] # fields by name
    else:
        assert before == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2026-08-26T12:00:00Z", "2026-08-27T12:00:00Z"),
        ("2026-08-26T12:00:00.414Z", "2026-08-27T12:00:00.414Z"),
        ("2026-08-26T14:00:00+02:00", "2026-08-27T14:00:00+02:00"),
        ("2026-08-26T12:00:00", "2026-08-27T12:00:00"),
        ("Wed, 26 Aug 2026 12:00:00 GMT", "Thu, 27 Aug 2026 12:00:00 GMT"),
        ("Wed, 26 Aug 2026 14:00:00 +0200", "Thu, 27 Aug 2026 14:00:00 +0200"),
        ("on 2026-08-26T12:00:00Z and later", "on 2026-08-27T12:00:00Z and later"),
    ],
)
def test_every_format_of_a_time_is_kept(before: str, after: str) -> None:
    body = json.dumps({"time": "2026-08-26T12:00:00Z", "other": before})

    moved = rewrite.shift_times(body, sent_at=None, now=NOW)

    assert json.loads(moved)["other"] == after


@pytest.mark.parametrize(
    "text",
    [
        "2026-13-45T12:00:00Z",
        "9999-12-31T23:59:59Z",
        "Xyz, 99 Foo 2026 12:00:00 GMT",
        "2026-08-26",
        "x2026-08-26T12:00:00Z",
        "2026-08-26T12:00:00Zulu",
        "yyyy-mm-ddThh:mm:ssZ",
    ],
)
def test_what_is_no_time_stays(text: str) -> None:
    body = json.dumps({"time": "2026-08-26T12:00:00Z", "other": text})

    assert json.loads(rewrite.shift_times(body, sent_at=None, now=NOW))["other"] == text


def test_where_the_event_tells_no_time_that_of_its_sending_counts() -> None:
    body = '{"detail": {"startTime": "2026-08-26T12:10:00Z"}}'
    sent_at = dt.datetime(2026, 8, 26, 12, tzinfo=dt.UTC)

    moved = rewrite.shift_times(body, sent_at=sent_at, now=NOW)

    assert moved == '{"detail": {"startTime": "2026-08-27T12:10:00Z"}}'
    assert rewrite.shift_times(body, sent_at=None, now=NOW) == body


@hypothesis.given(st.text(st.characters(exclude_categories=["Nd"])))
def test_a_text_without_digits_is_never_changed(text: str) -> None:
    assert rewrite.shift_times(text, sent_at=NOW, now=NOW + dt.timedelta(days=3)) == text
    assert rewrite.replace_instances(text, {OLD: NEW}) == text


@hypothesis.given(st.lists(st.sampled_from([OLD, NEW, "i-00000000", "/", " ", '"', ","])))
def test_instances_change_places_and_back(parts: list[str]) -> None:
    text = "|".join(parts)
    swap = {OLD: NEW, NEW: OLD}

    swapped = rewrite.replace_instances(text, swap)

    assert swapped.count(OLD) == text.count(NEW)
    assert rewrite.replace_instances(swapped, swap) == text


def test_an_instance_is_replaced_in_arns_and_inside_other_json_and_nowhere_else() -> None:
    event = json.dumps({"a": f"arn:aws:ec2:us-east-1:1:instance/{OLD}", "b": OLD})
    body = json.dumps({"Message": event, "other": f"{OLD}0 x{OLD} vol-{OLD[2:]}"})

    assert rewrite.replace_instances(body, {OLD: NEW}) == body.replace(
        f"/{OLD}", f"/{NEW}"
    ).replace(f'"{OLD}\\', f'"{NEW}\\')


@pytest.mark.parametrize("text", ["", "=", "i-1", f"{OLD}", f"{OLD}=", f"={NEW}", f"{OLD}={NEW}=x"])
def test_what_is_no_replacement_is_reported(text: str) -> None:
    with pytest.raises(errors.UsageError, match="is not OLD=NEW"):
        rewrite.parse_replacement(text)


def test_edits_are_made_together() -> None:
    message = QueueMessage(message_id="m", body=capacity(NOW - dt.timedelta(days=2), NOW))

    changes = Rewrite(shift_times=True, instances=dict([rewrite.parse_replacement(f"{OLD}={NEW}")]))
    event = parse(changes.apply(message, now=NOW).body)

    assert isinstance(event, InterruptionEvent)
    assert event.instance_ids == (NEW,)
    assert NOW - event.occurred_at < SECOND
    assert Rewrite().apply(message, now=NOW) == message
