"""A file that says when something is announced."""

import asyncio
import datetime as dt
import pathlib

import pytest

from queue_processor.domain import errors
from queue_processor.domain.events import EventKind
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.imds_bodies import InterruptionAction
from queue_processor.simulator.imds import schedule, schedule_file
from queue_processor.simulator.imds.announcements import Announcement, NodeAnnouncement
from queue_processor.simulator.imds.fleet import MetadataFleet

START = dt.datetime(2026, 12, 1, 9, 0, tzinfo=dt.UTC)
STORM = """
notices:
  - begins: 2026-12-01T09:05:00Z
    kind: scheduled_change
    nodes: [node-3]
    cancel: true
  - begins: 30s
    kind: spot_interruption
    nodes: [node-1, node-2]
    in: 90s
    action: stop
  - begins: 2026-12-01 10:01:00+01:00
    kind: scheduled_change
    nodes: node-3
"""


def loaded(folder: pathlib.Path, text: str) -> list[schedule.ScheduledAnnouncement]:
    path = folder / "storm.yaml"
    path.write_text(text, encoding="utf-8")
    return list(schedule_file.load(path, started_at=START))


def test_a_file_is_read_in_the_order_of_its_times(tmp_path: pathlib.Path) -> None:
    entries = loaded(tmp_path, STORM)

    assert [
        (entry.begins_at - START, entry.order.node, entry.order.announcement.kind)
        for entry in entries
    ] == [
        (dt.timedelta(seconds=30), "node-1", EventKind.SPOT_INTERRUPTION),
        (dt.timedelta(seconds=30), "node-2", EventKind.SPOT_INTERRUPTION),
        (dt.timedelta(minutes=1), "node-3", EventKind.SCHEDULED_CHANGE),
        (dt.timedelta(minutes=5), "node-3", EventKind.SCHEDULED_CHANGE),
    ]
    assert entries[0].order.announcement == Announcement(
        kind=EventKind.SPOT_INTERRUPTION,
        ends_in=dt.timedelta(seconds=90),
        action=InterruptionAction.STOP,
    )


@pytest.mark.looptime
async def test_each_announcement_begins_at_its_time(tmp_path: pathlib.Path) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    fleet = MetadataFleet()
    announced: list[tuple[float, NodeName]] = []
    refused: list[str] = []

    def now() -> dt.datetime:
        return START + dt.timedelta(seconds=loop.time() - began)

    def announce(order: NodeAnnouncement) -> None:
        fleet.announce(order, now=now())
        announced.append((loop.time() - began, order.node))

    text = STORM + "  - {begins: 2min, kind: scheduled_change, nodes: node-9, cancel: true}\n"
    await schedule.run(loaded(tmp_path, text), announce=announce, now=now, on_error=refused.append)

    assert announced == [(30, "node-1"), (30, "node-2"), (60, "node-3"), (300, "node-3")]
    assert refused == ["node-9: not announced: no scheduled change to cancel"]
    assert fleet.bodies_of(NodeName("node-1"))["spot/instance-action"] == (
        '{"action": "stop", "time": "2026-12-01T09:02:00Z"}'
    )


def test_each_mistake_in_a_file_has_its_line(tmp_path: pathlib.Path) -> None:
    text = """
notices:
  - {begins: 30s, kind: spot_interruption, nodes: [node-1]}
  - {kind: spot_interruption, nodes: [node-1]}
  - {begins: soon, kind: spot_interruption, nodes: [node-1]}
  - {begins: 30s, kind: reboot, nodes: [node-1]}
  - {begins: 30s, kind: spot_interruption}
  - {begins: 30s, kind: spot_interruption, nodes: [7]}
  - {begins: 30s, kind: spot_interruption, node: node-1}
  - {begins: 30s, kind: spot_interruption, nodes: {a: b}}
  - text
"""

    with pytest.raises(errors.UsageError) as caught:
        loaded(tmp_path, text)
    lines = [
        line.removeprefix(f"{tmp_path}/storm.yaml: ") for line in str(caught.value).split("\n")
    ]
    kinds = "spot_interruption, rebalance_recommendation, scheduled_change, autoscaling_termination"
    begin = "where a delay such as 30s is needed, or a time such as 2026-12-01T09:00:00Z"
    assert lines == [
        f"notices[1]: begins: missing, {begin}",
        f"notices[2]: begins: 'soon', {begin}",
        f"notices[3]: kind: 'reboot' is none of {kinds}",
        "notices[4]: nodes: at least one is needed",
        "notices[5]: node: a int, where a text is needed",
        "notices[6]: node: no such field",
        "notices[7]: nodes: a dict, where a list is needed",
        "notices[8]: a str, where a mapping is needed",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has to be a mapping with one list, notices"),
        ("notices: 3", "has to be a mapping with one list, notices"),
        ("notice: []", "has to be a mapping with one list, notices"),
        ("notices: [", "not YAML: "),
        ("notices: [{begins: 9999-99-99T00:00:00Z}]", "not YAML: "),
    ],
)
def test_what_is_no_schedule_is_one_line(tmp_path: pathlib.Path, text: str, reason: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        loaded(tmp_path, text)

    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{tmp_path}/storm.yaml: {reason}")


def test_a_missing_file_is_one_line(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.UsageError, match=r"storm\.yaml: cannot be read: No such file"):
        schedule_file.load(tmp_path / "storm.yaml", started_at=START)
