import datetime as dt
import json
import pathlib
from email import utils as email_utils
from typing import Any

import pytest

from queue_processor.domain import aws_events
from queue_processor.simulator.aws import events

SAMPLES = pathlib.Path(__file__).parents[2] / "data" / "events"
INSTANCE = "i-1234567890abcdef0"
NOON = dt.datetime(2026, 8, 27, 12, 0, tzinfo=dt.UTC)
ORIGIN = events.new_origin(time=NOON, event_id="event-1", region="us-west-2")
OLD_STEP = aws_events.LifecycleStep("my-asg", "my-hook", "token-1", metadata="additional-info")
STEP = aws_events.LifecycleStep(
    "my-asg", "my-hook", "token-1", "additional-info", origin="EC2", destination="AutoScalingGroup"
)
CHANGE = events.new_change(NOON)


def sample(name: str) -> Any:  # noqa: ANN401 it is JSON
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("built", "name"),
    [
        (
            aws_events.spot_interruption(INSTANCE, origin=ORIGIN),
            "spot_interruption_warning",
        ),
        (
            aws_events.rebalance_recommendation(INSTANCE, origin=ORIGIN),
            "rebalance_recommendation",
        ),
        (
            aws_events.state_change(INSTANCE, "stopping", origin=ORIGIN),
            "instance_state_change",
        ),
        (
            aws_events.capacity_reservation_interruption(
                INSTANCE, zone_id="use1-az1", origin=ORIGIN
            ),
            "capacity_reservation_instance_interruption_warning",
        ),
        (
            events.capacity_block_interruption(INSTANCE),
            "capacity_block_instance_interruption_warning",
        ),
        (
            aws_events.autoscaling_termination(INSTANCE, OLD_STEP, origin=ORIGIN),
            "asg_terminate_lifecycle_action",
        ),
        (
            aws_events.autoscaling_termination(INSTANCE, STEP, origin=ORIGIN),
            "asg_terminate_lifecycle_action_2026",
        ),
        (
            aws_events.autoscaling_launch(INSTANCE, OLD_STEP, origin=ORIGIN),
            "asg_launch_lifecycle_action",
        ),
        (
            aws_events.autoscaling_launch(INSTANCE, STEP, origin=ORIGIN),
            "asg_launch_lifecycle_action_2026",
        ),
    ],
)
def test_an_event_has_the_fields_of_the_sample(built: aws_events.Event, name: str) -> None:
    published = sample(name)
    # Slips of the published samples: a name with an underscore, and no version.
    published["detail-type"] = published.pop("detail_type", published.get("detail-type"))
    published["version"] = "0"

    assert set(built) == set(published)
    assert set(json.loads(json.dumps(built["detail"]))) == set(published["detail"])
    assert (built["source"], built["detail-type"]) == (
        published["source"],
        published["detail-type"],
    )


def test_a_health_event_has_the_fields_of_the_sample() -> None:
    built = json.loads(json.dumps(aws_events.scheduled_change([INSTANCE], CHANGE, origin=ORIGIN)))
    # Only the latest samples have these.
    later_fields = {"eventMetadata", "actionability"}

    published = sample("health_ec2_instance_retirement_2026")

    assert set(built) == {*published, "resources"}
    assert set(built["detail"]) == set(published["detail"]) - later_fields
    assert set(built["detail"]["affectedEntities"][0]) == set(
        published["detail"]["affectedEntities"][0]
    )


@pytest.mark.parametrize(
    ("built", "name"),
    [
        (
            events.lifecycle_notification(
                INSTANCE,
                events.new_step("my-asg", "my-hook"),
                "autoscaling:EC2_INSTANCE_TERMINATING",
            ),
            "asg_lifecycle_raw_sqs_body.sanitised",
        ),
        (
            events.hook_test_notification("my-asg"),
            "asg_test_notification_raw_sqs_body.sanitised",
        ),
    ],
)
def test_a_notification_has_the_fields_of_the_sample(built: aws_events.Event, name: str) -> None:
    assert list(built) == list(sample(name))


def test_an_event_says_where_and_when_it_arose() -> None:
    event = aws_events.spot_interruption(INSTANCE, origin=ORIGIN)

    assert (event["id"], event["time"]) == ("event-1", "2026-08-27T12:00:00Z")
    assert event["resources"] == [f"arn:aws:ec2:us-west-2:123456789012:instance/{INSTANCE}"]


def test_a_capacity_reservation_ends_two_minutes_after_the_event_unless_told() -> None:
    event = aws_events.capacity_reservation_interruption(INSTANCE, origin=ORIGIN)

    assert '"instance-termination-time": "2026-08-27T12:02:00Z"' in json.dumps(event)


def test_a_health_event_names_every_instance_of_its_page() -> None:
    change = events.new_change(NOON, page=2, total_pages=3, names_arns=True, backup=None)

    event = aws_events.scheduled_change(["i-1", "i-2"], change, origin=ORIGIN)

    detail = json.loads(json.dumps(event["detail"]))
    assert [entity["entityValue"] for entity in detail["affectedEntities"]] == [
        ORIGIN.instance_arn("i-1"),
        ORIGIN.instance_arn("i-2"),
    ]
    assert (detail["page"], detail["totalPages"]) == ("2", "3")
    assert "backupEvent" not in detail
    assert email_utils.parsedate_to_datetime(detail["startTime"]) == NOON
    assert detail["startTime"] == "Thu, 27 Aug 2026 12:00:00 GMT"


def test_two_events_have_different_ids() -> None:
    assert events.new_origin().event_id != events.new_origin().event_id
