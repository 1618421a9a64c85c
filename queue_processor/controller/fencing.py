"""Writes on a node that hold only for the version they were decided on."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from queue_processor.controller import ports
from queue_processor.domain import errors
from queue_processor.domain.nodes import NodeView

_CONFLICTS_IN_A_ROW = 20

_Result = TypeVar("_Result")


async def retry_on_conflict(
    nodes: ports.Nodes, node: NodeView, decide: Callable[[NodeView], Awaitable[_Result]]
) -> _Result:
    """Decide and write; when somebody else wrote first, read, decide and write again at once.

    Args:
        nodes: Where the node is read.
        node: The node as it was last seen.
        decide: Looks at a node and writes, or does not; raises Conflict when it has changed.

    Raises:
        NotFound: The node is gone, or its name is another instance's now.
        TemporaryError: The node changes faster than it can be written.
    """
    for _ in range(_CONFLICTS_IN_A_ROW):
        try:
            return await decide(node)
        except errors.Conflict:
            node = await refresh(nodes, node)
    raise errors.TemporaryError(f"{node.name} changes faster than it can be written")


async def refresh(nodes: ports.Nodes, node: NodeView) -> NodeView:
    """Read a node as it is now.

    Raises:
        NotFound: The node is gone, or its name is another instance's now.
    """
    found = await nodes.read(node.name)
    if found is None or found.instance_id != node.instance_id:
        raise errors.NotFound(f"{node.name} is another instance now")
    return found
