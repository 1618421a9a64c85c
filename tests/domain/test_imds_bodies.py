"""The answers of instance metadata: as AWS documents them, and as a watcher reads them back."""

import datetime as dt
import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queue_processor.domain import imds_bodies, notices
from queue_processor.domain.events import EventKind, InterruptionEvent
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.imds_bodies import InterruptionAction, ScheduledEvent
from queue_processor.domain.notices import Notice

SAMPLES = pathlib.Path(__file__).parents[1] / "data" / "imds"
INSTANCE = InstanceId("i-1234567890abcdef0")
# Aware, in any zone, and in the years that a notice may have.
TIMES = st.datetimes(
    min_value=dt.datetime(1971, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=dt.datetime(2199, 1, 1),  # noqa: DTZ001 - the same
    timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=9))]),
)


def sample(name: str) -> str:
    return (SAMPLES / name).read_bytes().decode()


def read_back(
    kind: EventKind, body: str, *, now: dt.datetime, change_id: str | None = None
) -> InterruptionEvent:
    """Return the event that the operator reads, once a watcher wrote this on the Node."""
    notice = Notice(
        annotation=notices.annotation_name(kind, change_id=change_id),
        instance_id=INSTANCE,
        seen_at=now,
        body=body,
    )
    return notices.parse(notice.annotation, notice.to_json(), instance_id=INSTANCE, received_at=now)


@pytest.mark.parametrize("action", [InterruptionAction.TERMINATE, InterruptionAction.STOP])
def test_an_instance_action_is_what_the_user_guide_prints(action: InterruptionAction) -> None:
    at = dt.datetime(2017, 9, 18, 8, 22, tzinfo=dt.UTC)

    assert imds_bodies.instance_action(action, at) == sample(f"instance_action_{action}.json")


def test_a_termination_time_is_what_the_user_guide_prints() -> None:
    at = dt.datetime(2015, 1, 5, 18, 2, tzinfo=dt.UTC)

    assert imds_bodies.termination_time(at) == sample("termination_time.txt")


def test_a_rebalance_recommendation_is_what_the_user_guide_prints() -> None:
    at = dt.datetime(2020, 10, 27, 8, 22, tzinfo=dt.UTC)

    assert imds_bodies.rebalance_recommendation(at) == sample("rebalance.json")


def test_a_scheduled_event_is_what_ec2_prints() -> None:
    event = ScheduledEvent(
        event_id="instance-event-07a1c1c08b77d4bf1",
        code="instance-stop",
        starts_at=dt.datetime(2021, 1, 1, 2, tzinfo=dt.UTC),
    )

    assert imds_bodies.scheduled_events([event]) == sample("scheduled_ec2.json")


def reboot(
    day: int, description: str = "scheduled reboot", state: str = "active"
) -> ScheduledEvent:
    return ScheduledEvent(
        event_id="instance-event-0d59937288b749b32",
        code="system-reboot",
        description=description,
        starts_at=dt.datetime(2019, 1, day, 9, 0, 43, tzinfo=dt.UTC),
        ends_at=dt.datetime(2019, 1, day, 9, 17, 23, tzinfo=dt.UTC),
        state=state,
    )


@pytest.mark.parametrize(
    ("events", "name"),
    [
        ([reboot(21)], "scheduled_user_guide.json"),
        (
            [reboot(21).cancelled(), reboot(29, "[Completed] scheduled reboot", "completed")],
            "history_user_guide.json",
        ),
    ],
)
def test_scheduled_events_have_the_fields_of_the_user_guide_in_their_order(
    events: list[ScheduledEvent], name: str
) -> None:
    printed = json.loads(imds_bodies.scheduled_events(events), object_pairs_hook=list)

    assert printed == json.loads(sample(name), object_pairs_hook=list)


def test_no_scheduled_events_are_an_empty_list() -> None:
    assert imds_bodies.scheduled_events([]) == "[]"


@given(at=TIMES, action=st.sampled_from(InterruptionAction))
def test_a_spot_interruption_is_read_back_from_both_paths(
    at: dt.datetime, action: InterruptionAction
) -> None:
    now = at - dt.timedelta(minutes=2)
    older = read_back(EventKind.SPOT_INTERRUPTION, imds_bodies.termination_time(at), now=now)
    newer = read_back(EventKind.SPOT_INTERRUPTION, imds_bodies.instance_action(action, at), now=now)

    assert newer == older
    assert newer.scheduled_at == at.replace(microsecond=0)


@given(at=TIMES)
def test_a_rebalance_recommendation_is_read_back(at: dt.datetime) -> None:
    body = imds_bodies.rebalance_recommendation(at)

    event = read_back(EventKind.REBALANCE_RECOMMENDATION, body, now=at + dt.timedelta(minutes=1))
    assert event.occurred_at == at.replace(microsecond=0)


@given(
    starts=st.lists(TIMES, max_size=4),
    is_cancelled=st.booleans(),
    ends_in=st.none() | st.timedeltas(dt.timedelta(), dt.timedelta(days=3)),
)
def test_scheduled_events_are_read_back_one_by_one(
    *, starts: list[dt.datetime], is_cancelled: bool, ends_in: dt.timedelta | None
) -> None:
    events = [
        ScheduledEvent(
            event_id=f"instance-event-{number:017x}",
            starts_at=at,
            ends_at=None if ends_in is None else at + ends_in,
        )
        for number, at in enumerate(starts)
    ]
    listed = [event.cancelled() for event in events] if is_cancelled else events

    by_id = notices.parse_scheduled_events(imds_bodies.scheduled_events(listed))
    parsed = [
        read_back(
            EventKind.SCHEDULED_CHANGE, body, now=dt.datetime.now(dt.UTC), change_id=change_id
        )
        for change_id, body in by_id.items()
    ]
    assert [event.change_id for event in parsed] == [event.event_id for event in events]
    assert [event.scheduled_at for event in parsed] == [
        event.starts_at.replace(microsecond=0) for event in events
    ]
    assert all(event.is_cancelled is is_cancelled for event in parsed)


def test_a_termination_by_the_group_is_read_back() -> None:
    event = read_back(
        EventKind.AUTOSCALING_TERMINATION,
        notices.TARGET_TERMINATED,
        now=dt.datetime.now(dt.UTC),
    )

    assert event.kind is EventKind.AUTOSCALING_TERMINATION
    assert sample("target_lifecycle_state.txt") == imds_bodies.IN_SERVICE
