"""The fields of the log lines about every message; docs/logs.md lists them."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from queue_processor.controller import ports
from queue_processor.domain.events import LifecycleAction
from queue_processor.domain.forecast import BlockedEviction, DrainForecast
from queue_processor.domain.plan import HandledInstance, Plan, Processed

Fields: TypeAlias = Mapping[str, object]


def of_plan(plan: Plan) -> Fields:
    """Return all that has been decided about one instance of an event."""
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
        "lifecycle_hook": _hook_of(plan.lifecycle_action),
    }


def of_forecast(plan: Plan, forecast: DrainForecast) -> Fields:
    """Return a plan, and what it would do to the pods of its node."""
    return {
        **of_plan(plan),
        "evicted": [str(pod) for pod in forecast.evicted],
        "blocked": [_of_blocked(each) for each in forecast.blocked],
        "deleted_at_deadline": [str(pod) for pod in forecast.force_deleted],
    }


def _of_blocked(eviction: BlockedEviction) -> Fields:
    deleted_at = eviction.deleted_at
    return {
        "pod": str(eviction.pod),
        "budgets": eviction.budgets,
        "deleted_at": None if deleted_at is None else deleted_at.isoformat(),
    }


def of_outcome(delivery: ports.Delivery, processed: Processed) -> Fields:
    """Return the outcome of a message, with every instance that its event names."""
    instances = [_of_instance(instance) for instance in processed.instances]
    return {
        "message_id": delivery.id,
        "event_id": None if processed.event is None else processed.event.event_id,
        "kind": processed.kind,
        "instance_id": _joined(instance["instance_id"] for instance in instances),
        "node": _joined(instance["node"] for instance in instances),
        "outcome": processed.outcome.kind,
        "reason": processed.outcome.reason,
        "lifecycle_hook": _hook_of(processed.outcome.completes),
        "receive_count": delivery.receive_count,
        "instances": instances,
    }


def _of_instance(instance: HandledInstance) -> Fields:
    report = instance.report
    return {
        "instance_id": instance.instance_id,
        "node": instance.node_name,
        "result": None if report is None else report.result,
        "evicted": 0 if report is None else report.evicted,
        "deleted_at_deadline": [] if report is None else report.force_deleted,
        "left": [] if report is None else report.left,
        "margin_seconds": None
        if report is None or report.margin is None
        else round(report.margin.total_seconds(), 3),
    }


def _hook_of(action: LifecycleAction | None) -> Fields | None:
    return None if action is None else {"group": action.hook.group, "name": action.hook.name}


def _joined(names: Iterable[object]) -> str | None:
    """One text for all, so that a field has one type and a search for one name finds the line."""
    return ",".join(str(name) for name in names if name is not None) or None
