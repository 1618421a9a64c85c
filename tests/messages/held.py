"""Nodes that carry what the operator puts on them."""

import datetime as dt

from queue_processor.adapters.kube import marks
from queue_processor.domain import nodes
from queue_processor.domain.deadlines import Deadline
from queue_processor.domain.events import EventKind
from queue_processor.domain.holds import Hold
from queue_processor.domain.plan import Action, InstanceResult
from queue_processor.simulator.kube.cluster import SimulatedCluster


def hold(result: InstanceResult | None, *, seconds: int = -60, event_id: str = "event-1") -> Hold:
    """A Spot interruption whose deadline is so many seconds from now."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    return Hold(
        id=f"hold of {event_id}",
        event_id=event_id,
        kind=EventKind.SPOT_INTERRUPTION,
        action=Action.CORDON_AND_DRAIN,
        occurred_at=now - dt.timedelta(seconds=120),
        since=now - dt.timedelta(seconds=119),
        deadline=Deadline(at=now + dt.timedelta(seconds=seconds), is_hard=True),
        result=result,
    )


def mark(made: SimulatedCluster, name: str, *held: Hold, was_cordoned: bool = False) -> None:
    """Put on a node what the operator puts there."""
    node = made.store.node(name)
    assert node is not None
    ours = {} if was_cordoned else {nodes.CORDONED_ANNOTATION: "true"}
    annotations = {
        **marks.holds_annotation(held),
        nodes.EXCLUDED_ANNOTATION: "true",
        nodes.KIND_ANNOTATION: held[0].kind.value,
        **ours,
    }
    metadata = {
        **node.metadata,
        "annotations": {**node.metadata.get("annotations", {}), **annotations},
        "labels": {
            **node.metadata.get("labels", {}),
            nodes.EXCLUDE_FROM_LOAD_BALANCERS_LABEL: "true",
            "team": "a",
        },
    }
    taints = [
        {"key": "team", "value": "a", "effect": "NoSchedule"},
        {"key": nodes.taint_key(held[0].kind), "effect": "NoSchedule"},
    ]
    spec = {**node.spec, "unschedulable": True, "taints": taints}
    made.store.update(node, node.body | {"metadata": metadata, "spec": spec})
