"""What the two lines about every message say; docs/logs.md lists it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from queue_processor.controller.keepalive import Holding
from queue_processor.domain.events import InterruptionEvent
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.plan import Outcome, Plan

Fields: TypeAlias = Mapping[str, object]


def of_plan(plan: Plan) -> Fields:
    """All that has been decided about one instance of an event."""
    return {
        "event_id": plan.event_id,
        "kind": plan.kind,
        "instance_id": plan.instance_id,
        "node": plan.node_name,
        "action": plan.action,
        "occurred_at": plan.occurred_at.isoformat(),
        "deadline": plan.deadline.at.isoformat(),
        "deadline_is_hard": plan.deadline.is_hard,
        "instance_is_gone": plan.is_instance_gone,
    }


def of_outcome(holding: Holding, outcome: Outcome) -> Fields:
    """What became of a message, and of every instance that its event names."""
    event = holding.event
    instances = [] if event is None else list(_instances(holding, event))
    return {
        "message_id": holding.message.message_id,
        "event_id": holding.event_id,
        "kind": None if event is None else event.kind,
        "instance_id": _joined(instance["instance_id"] for instance in instances),
        "node": _joined(instance["node"] for instance in instances),
        "outcome": outcome.kind,
        "reason": outcome.reason,
        "receive_count": holding.message.receive_count,
        "instances": instances,
    }


def _instances(holding: Holding, event: InterruptionEvent) -> Iterator[Fields]:
    for instance_id in event.instance_ids:
        report = holding.reports.get(instance_id)
        yield {
            "instance_id": instance_id,
            "node": _node_of(holding, instance_id),
            "result": None if report is None else report.result,
            "evicted": 0 if report is None else report.evicted,
            "deleted_at_deadline": [] if report is None else report.force_deleted,
            "left": [] if report is None else report.left,
            "margin_seconds": None
            if report is None or report.margin is None
            else round(report.margin.total_seconds(), 3),
        }


def _node_of(holding: Holding, instance_id: InstanceId) -> str | None:
    report, plan = holding.reports.get(instance_id), holding.plans.get(instance_id)
    if report is not None and report.node_name is not None:
        return report.node_name
    return None if plan is None else plan.node_name


def _joined(names: Iterable[object]) -> str | None:
    """One text for all, so that a field has one type and a search for one name finds the line."""
    return ",".join(str(name) for name in names if name is not None) or None
