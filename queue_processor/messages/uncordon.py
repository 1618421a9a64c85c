"""Takes nodes back into use: undoes what the operator did to them, and nothing else."""

import datetime as dt
import functools

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.nodes import KubeNodes, NodeReader
from queue_processor.controller import node_cordon
from queue_processor.domain.holds import Hold
from queue_processor.domain.nodes import Mark, NodeView, TaintEffect
from queue_processor.messages import marked
from queue_processor.retrying import retry_on_conflict

_NO_MARK = Mark(holds=(), ruling=None, effect=TaintEffect.NO_SCHEDULE)


def drain_of(view: NodeView) -> Hold | None:
    """Return the event that a node is being drained for, if any."""
    now = _now()
    return next((hold for hold in view.holds if hold.is_draining and hold.deadline.at > now), None)


async def uncordon(api: KubeApi, view: NodeView) -> bool:
    """Take the mark of the operator off a node.

    Args:
        api: The cluster.
        view: The node as somebody decided on it.

    Returns:
        False if the node stays as it is: it is being drained, or another event holds it by now.

    Raises:
        NotFound: The node is gone.
    """
    nodes = KubeNodes(api, reader=NodeReader(marked.EVERY_NODE), clock=_now)

    seen_ids = {hold.id for hold in view.holds}

    async def take_off(node: NodeView) -> bool:
        if drain_of(node) is not None or {hold.id for hold in node.holds} - seen_ids:
            return False
        await nodes.mark(node, _NO_MARK)
        return True

    refresh = functools.partial(node_cordon.refresh, nodes)
    return await retry_on_conflict(take_off, view, refresh=refresh)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
