"""`queue-processor nodes`: list the nodes that the operator holds, and take them back into use."""

import asyncio
import datetime as dt
import functools
from collections.abc import Collection, Iterator, Sequence
from typing import Annotated

import typer

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.nodes import KubeNodes, NodeReader
from queue_processor.controller import node_cordon
from queue_processor.domain import errors
from queue_processor.domain.holds import Hold
from queue_processor.domain.nodes import Mark, NodeView, TaintEffect
from queue_processor.messages import connection, options, output
from queue_processor.messages.options import OutputFormat
from queue_processor.nodes import marked
from queue_processor.nodes.marked import MarkedNode
from queue_processor.retrying import retry_on_conflict

_HEADINGS = ("node", "kind", "since (UTC)", "until (UTC)", "state", "pods left")
_NO_MARK = Mark(holds=(), ruling=None, effect=TaintEffect.NO_SCHEDULE)


def list_nodes(output_format: options.Output = OutputFormat.TEXT) -> None:
    """List the nodes that the operator holds: why, since when, until when, and the pods left.

    A drained node stays cordoned until it is gone, or until `nodes uncordon`. The command only
    reads: it needs the permissions to list nodes and pods.

    \b
    Examples:
      queue-processor nodes list
      queue-processor nodes list --output json | jq -r '.[].node'
    """  # noqa: D301 - after a real backspace the lines stay as they are
    (_, nodes), now = asyncio.run(_read()), _now()
    if output_format is not OutputFormat.TEXT:
        output.print_data([node.fields(now=now) for node in nodes], output_format)
    elif nodes:
        output.print_table(_HEADINGS, [row for node in nodes for row in node.rows(now=now)])
    else:
        output.note("no node is held")


def uncordon(
    names: Annotated[list[str], typer.Argument(metavar="NODE...", help="The nodes.")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be undone, and change nothing.")
    ] = False,
    yes: options.Yes = False,
) -> None:
    """Take nodes back into use after a drill, or after an event that came to nothing.

    It undoes what the operator did, and nothing else: a cordon, a taint or a label that was there
    before stays. A node that is being drained is refused, because the operator would mark it again.
    You see what is undone, and are asked first. It needs the permission to patch nodes.

    \b
    Examples:
      queue-processor nodes uncordon ip-10-0-1-7.ec2.internal
      queue-processor nodes uncordon ip-10-0-1-7.ec2.internal --dry-run
    """  # noqa: D301 - after a real backspace the lines stay as they are
    cluster_name, every = asyncio.run(_read())
    nodes = _by_name(every, names)
    output.note(f"cluster: {cluster_name}")
    for node in nodes:
        output.note(_described(node))
    if dry_run:
        return
    if not yes:
        output.confirm(f"Uncordon {len(nodes)} nodes?")
    asyncio.run(_uncordon([node.view for node in nodes]))


async def _read() -> tuple[str, Sequence[MarkedNode]]:
    """Return the name of the cluster, and its nodes that carry a mark."""
    async with connection.open_cluster() as opened:
        return opened.name, await marked.marked_nodes(opened)


def _by_name(nodes: Sequence[MarkedNode], names: Collection[str]) -> Sequence[MarkedNode]:
    """Return the nodes with these names.

    Raises:
        UsageError: One of them is not held, or is being drained.
    """
    by_name: dict[str, MarkedNode] = {node.view.name: node for node in nodes}
    problems = [problem for name in names for problem in _problems(name, by_name.get(name))]
    if problems:
        raise errors.UsageError("\n".join(problems))
    return [by_name[name] for name in dict.fromkeys(names)]


def _problems(name: str, node: MarkedNode | None) -> Iterator[str]:
    if node is None:
        yield f"{name}: not held by the operator; `nodes list` shows the nodes that are"
        return
    hold = _drain_of(node.view)
    if hold is not None:
        yield (
            f"{name}: being drained until {hold.deadline.at:%H:%M:%S} UTC because of {hold.kind}"
            f" (event {hold.event_id}); wait for the end of the drain"
        )


def _drain_of(view: NodeView) -> Hold | None:
    """Return the event that a node is being drained for, if any."""
    now = _now()
    return next((hold for hold in view.holds if hold.is_draining and hold.deadline.at > now), None)


def _described(node: MarkedNode) -> str:
    view, now = node.view, _now()
    undone = [
        *(["the cordon"] if view.is_cordoned_by_us else []),
        *(f"the taint of {kind}" for kind in sorted(view.kinds_on_taints)),
        *(["the label for load balancers"] if view.is_excluded_by_us else []),
        "its annotations",
    ]
    text = f"{view.name}: takes off {', '.join(undone)}"
    if node.was_cordoned_before:
        text += "; it was cordoned before, and stays so"
    for hold in view.holds:
        if hold.deadline.is_hard and hold.deadline.at > now:
            text += f"; its instance may go at {hold.deadline.at:%Y-%m-%d %H:%M:%S} UTC"
    return text


async def _uncordon(views: Sequence[NodeView]) -> None:
    async with connection.open_cluster() as opened:
        for view in views:
            await _take_off(opened.api, view)
            output.note(f"{view.name}: back in use")


async def _take_off(api: KubeApi, view: NodeView) -> None:
    nodes = KubeNodes(api, reader=NodeReader(marked.EVERY_NODE), clock=_now)

    async def take_off(node: NodeView) -> None:
        if _drain_of(node) is not None:
            raise errors.UsageError(f"{node.name}: a drain has begun meanwhile")
        await nodes.mark(node, _NO_MARK)

    await retry_on_conflict(take_off, view, refresh=functools.partial(node_cordon.refresh, nodes))


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
