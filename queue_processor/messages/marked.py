"""The nodes of the cluster that carry a mark of the operator, and what it says."""

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence

from queue_processor.adapters.kube import nodes
from queue_processor.adapters.kube.nodes import NodeReader
from queue_processor.domain import pods
from queue_processor.domain.holds import Hold
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.selectors import LabelSelector
from queue_processor.messages.cluster import ClusterReader
from queue_processor.messages.connection import OpenCluster

EVERY_NODE = LabelSelector()


@dataclasses.dataclass(frozen=True, slots=True)
class MarkedNode:
    """A node with a mark.

    Attributes:
        pods_left: How many of its pods a drain would still evict.
    """

    view: NodeView
    pods_left: int

    @property
    def was_cordoned_before(self) -> bool:
        """True if somebody else cordoned the node."""
        return self.view.is_unschedulable and not self.view.is_cordoned_by_us

    @property
    def is_of_drills(self) -> bool:
        """True if events hold the node, and drills sent all of them."""
        return bool(self.view.holds) and all(hold.is_of_drill for hold in self.view.holds)

    def rows(self, *, now: dt.datetime) -> Sequence[Sequence[str | None]]:
        """Return a row for each event that holds the node, or one if none is written on it."""
        name, left = self.view.name, str(self.pods_left)
        if not self.view.holds:
            return [(name, None, "marked, by no event", left, None, None)]
        return [
            (name, _kind(hold), state(hold, now), left, _time(hold.deadline.at), _time(hold.since))
            for hold in self.view.holds
        ]

    def fields(self, *, now: dt.datetime) -> Mapping[str, object]:
        """Return the same for programs."""
        return {
            "node": self.view.name,
            "instance_id": self.view.instance_id,
            "is_unschedulable": self.view.is_unschedulable,
            "was_cordoned_before": self.was_cordoned_before,
            "pods_left": self.pods_left,
            "events": [
                {
                    "event_id": hold.event_id,
                    "kind": hold.kind.value,
                    "since": hold.since.isoformat(),
                    "until": hold.deadline.at.isoformat(),
                    "instance_goes_then": hold.deadline.is_hard,
                    "state": state(hold, now),
                    "is_drill": hold.is_of_drill,
                }
                for hold in self.view.holds
            ],
        }


def _kind(hold: Hold) -> str:
    return f"{hold.kind} (drill)" if hold.is_of_drill else hold.kind


def state(hold: Hold, now: dt.datetime) -> str:
    """Return how the work for an event stands."""
    if hold.result is not None:
        return hold.result.value
    if hold.deadline.at < now:
        return "past its deadline, and not ended"
    return "draining" if hold.is_draining else "cordoned"


async def marked_views(opened: OpenCluster) -> Sequence[NodeView]:
    """Return the nodes that carry a mark, in the order of their names.

    Raises:
        TemporaryError: The cluster cannot be read now.
        PermanentError: It may not be read.
    """
    reader = NodeReader(EVERY_NODE)
    views = [reader.view_of(node) async for node in nodes.listed(opened.api)]
    marked = [view for view in views if view is not None and view.is_marked]
    return sorted(marked, key=lambda view: view.name)


async def marked_nodes(opened: OpenCluster) -> Sequence[MarkedNode]:
    """Return the same with the number of their pods; raises the same."""
    views = await marked_views(opened)
    of_nodes = await ClusterReader(opened).pods([view.name for view in views])
    return [
        MarkedNode(view, sum(pods.verdict_on(pod).is_moved for pod in of_nodes[view.name]))
        for view in views
    ]


def _time(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
