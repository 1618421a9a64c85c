"""Takes nodes back into use: undoes what the operator did to them, and nothing else."""

import datetime as dt
import functools

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.nodes import KubeNodes, NodeReader
from queue_processor.controller import node_cordon
from queue_processor.domain import errors
from queue_processor.domain.holds import Hold
from queue_processor.domain.nodes import Mark, NodeView, TaintEffect
from queue_processor.messages import marked
from queue_processor.retrying import retry_on_conflict

_NO_MARK = Mark(holds=(), ruling=None, effect=TaintEffect.NO_SCHEDULE)


def drain_of(view: NodeView) -> Hold | None:
    """Return the event that a node is being drained for, if any."""
    now = _now()
    return next((hold for hold in view.holds if hold.is_draining and hold.deadline.at > now), None)


async def uncordon(api: KubeApi, view: NodeView) -> None:
    """Take the mark of the operator off a node.

    Raises:
        UsageError: A drain of the node has begun since the view was read.
        NotFound: The node is gone.
    """
    nodes = KubeNodes(api, reader=NodeReader(marked.EVERY_NODE), clock=_now)

    async def take_off(node: NodeView) -> None:
        if drain_of(node) is not None:
            raise errors.UsageError(f"{node.name}: a drain has begun meanwhile")
        await nodes.mark(node, _NO_MARK)

    await retry_on_conflict(take_off, view, refresh=functools.partial(node_cordon.refresh, nodes))


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
