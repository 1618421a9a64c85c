"""The log lines about messages, compared with docs/logs.md."""

import datetime as dt
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from queue_processor.domain import aws_events
from queue_processor.simulator.aws import events
from tests.operators import OperatorProcess
from tests.wiring.conftest import Site

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "logs.md"


def _instance(number: int) -> str:
    return f"i-{number:017x}"


def _documented(heading: str, *, table: int = 0) -> set[str]:
    """The fields in a table under a heading of the document."""
    _, _, after = DOCUMENT.read_text(encoding="utf-8").partition(f"## {heading}\n")
    section = after.split("\n## ")[0]
    tables = section.split("| field | |\n|---|---|\n")[1:]
    return set(re.findall(r"^\| `(\w+)` ", tables[table], flags=re.MULTILINE))


def _lines(operator: OperatorProcess, event: str) -> list[Mapping[str, Any]]:
    return [line for line in operator.lines() if line["event"] == event]


def _moment(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text)
    assert moment.utcoffset() == dt.timedelta()
    return moment


async def test_one_line_holds_the_plan_and_one_the_outcome(site: Site) -> None:
    for number in range(2):
        site.cluster.add_node(f"node-{number}", instance_id=_instance(number))
    site.cluster.add_replica_set("web", replicas=2, labels={"app": "web"}, nodes=["node-0"])
    operator = await site.start()

    origin = events.new_origin()
    site.aws.put_event(aws_events.spot_interruption(_instance(0), origin=origin))
    await site.until(lambda: bool(operator.logged("outcome")))

    (plan,), (outcome,) = _lines(operator, "plan"), _lines(operator, "outcome")
    envelope = _documented("Every line")
    assert set(plan) == envelope | _documented("The plan")
    assert set(outcome) == envelope | _documented("The outcome")
    names = ("message_id", "event_id", "kind", "instance_id", "node")
    assert [plan[name] for name in names] == [outcome[name] for name in names]
    assert plan["event_id"] == origin.event_id
    assert (plan["kind"], plan["instance_id"]) == ("spot_interruption", _instance(0))
    assert (plan["node"], plan["action"]) == ("node-0", "cordon-and-drain")
    assert _moment(plan["deadline"]) - _moment(plan["occurred_at"]) == dt.timedelta(seconds=120)
    assert plan["deadline_is_hard"] is True
    assert outcome["outcome"] == "done"
    (instance,) = outcome["instances"]
    assert set(instance) == _documented("The outcome", table=1)
    assert (instance["result"], instance["evicted"]) == ("drained", 2)
    assert 100 < instance["margin_seconds"] < 120


async def test_with_mode_observe_one_line_more_says_what_a_drain_would_do(site: Site) -> None:
    site.cluster.add_node("node-0", instance_id=_instance(0))
    site.cluster.add_replica_set("web", replicas=1, labels={"app": "web"}, nodes=["node-0"])
    site.cluster.add_budget("web", match_labels={"app": "web"}, min_available=1)
    operator = await site.start(QUEUE_PROCESSOR_MODE="observe")

    site.aws.put_event(aws_events.spot_interruption(_instance(0), origin=events.new_origin()))
    await site.until(lambda: bool(operator.logged("outcome")))

    (plan,), (forecast,) = _lines(operator, "plan"), _lines(operator, "plan_observed")
    fields = _documented("What a drain would do")
    assert set(forecast) == set(plan) | fields
    changing = {*fields, "event", "timestamp", "logger"}
    assert {name: forecast[name] for name in plan if name not in changing} == {
        name: value for name, value in plan.items() if name not in changing
    }
    (blocked,) = forecast["blocked"]
    assert [blocked["pod"]] == forecast["evicted"]
    assert _moment(blocked["deleted_at"]) < _moment(forecast["deadline"])


async def test_an_event_that_names_several_instances_has_a_plan_for_each_and_one_outcome(
    site: Site,
) -> None:
    for number in range(2):
        site.cluster.add_node(f"node-{number}", instance_id=_instance(number))
    operator = await site.start(QUEUE_PROCESSOR_DRAIN__UNKNOWN_INSTANCE_GRACE_SECONDS="0")
    named = [_instance(number) for number in (0, 1, 7)]

    change = events.new_change(dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
    site.aws.put_event(aws_events.scheduled_change(named, change, origin=events.new_origin()))
    await site.until(lambda: bool(operator.logged("outcome")))

    plans, (outcome,) = _lines(operator, "plan"), _lines(operator, "outcome")
    assert [(plan["instance_id"], plan["node"]) for plan in plans] == [
        (_instance(0), "node-0"),
        (_instance(1), "node-1"),
    ]
    assert {plan["message_id"] for plan in plans} == {outcome["message_id"]}
    assert outcome["instance_id"] == ",".join(named)
    assert outcome["node"] == "node-0,node-1"
    assert [(each["node"], each["result"]) for each in outcome["instances"]] == [
        ("node-0", "drained"),
        ("node-1", "drained"),
        (None, "unknown_instance"),
    ]


async def test_what_asks_for_nothing_or_is_not_understood_has_an_outcome_alone(
    site: Site,
) -> None:
    operator = await site.start()

    pending = aws_events.state_change(_instance(0), "pending", origin=events.new_origin())
    site.aws.send_raw(json.dumps(pending), queue_url=site.stack.queue_url)
    site.aws.send_raw("{not json", queue_url=site.stack.queue_url)
    await site.until(lambda: len(_lines(operator, "outcome")) == 2)

    assert not _lines(operator, "plan")
    outcomes = {line["outcome"]: line for line in _lines(operator, "outcome")}
    assert outcomes["ignored"]["event_id"] == pending["id"]
    assert outcomes["dead_letter"]["event_id"] is None
    for line in outcomes.values():
        assert set(line) == _documented("Every line") | _documented("The outcome")
        assert (line["kind"], line["instance_id"], line["node"]) == (None, None, None)
        assert line["instances"] == []
        assert line["message_id"]
