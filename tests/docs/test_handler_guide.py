"""docs/test-your-handler.md: its files are ones that the commands take."""

import datetime as dt
import json
import pathlib
import re

import pytest
import yaml

from docs import reference
from queue_processor.domain import notices
from queue_processor.domain.identifiers import InstanceId
from queue_processor.imds import nodes
from queue_processor.simulator.imds import announcements, schedule_file

TEXT = (reference.DOCS / "test-your-handler.md").read_text(encoding="utf-8")
NODE, SCHEDULE = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_schedule_is_valid(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "schedule.yaml"
    path.write_text(SCHEDULE, encoding="utf-8")

    entries = schedule_file.load(path, started_at=dt.datetime.now(dt.UTC))
    assert [entry.order.node for entry in entries] == ["spot-1", "spot-2", "spot-3"]


def test_the_node_is_a_spot_instance() -> None:
    instance = nodes.instance_on(yaml.safe_load(NODE))

    assert instance.is_spot
    assert instance.instance_id == InstanceId("i-0123456789abcdef0")


def test_the_request_to_the_control_api_is_valid() -> None:
    (body,) = re.findall(r"--data '(.*?)'", TEXT)
    (notice,) = json.loads(body)["notices"]

    assert announcements.parse(notice).node == "spot-1"


@pytest.mark.parametrize("kind", notices.KINDS)
def test_every_kind_and_its_path_are_in_the_table(kind: str) -> None:
    (row,) = [line for line in TEXT.splitlines() if line.startswith(f"| `{kind}` |")]

    (path,) = [path for each, path in announcements.PATH_OF.items() if each == kind]
    assert f"`{path}`" in row
