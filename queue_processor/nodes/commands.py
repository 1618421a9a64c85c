"""`queue-processor nodes`: list the nodes that the operator holds, and take them back into use."""

import asyncio
import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from typing import Annotated

import typer

from queue_processor.domain import errors
from queue_processor.domain.nodes import NodeView
from queue_processor.messages import connection, marked, options, output, uncordon
from queue_processor.messages.marked import MarkedNode
from queue_processor.messages.options import ListFormat
from queue_processor.messages.output import Extra

_HEADINGS = (
    *("node", Extra("kind"), Extra("state")),
    *(Extra("pods left"), Extra("until (UTC)"), Extra("since (UTC)")),
)


def list_nodes(output_format: options.ListOutput = ListFormat.TABLE) -> None:
    """List the nodes that the operator holds: why, since when, until when, and the pods left.

    A drained node stays cordoned until it is gone, or until `nodes uncordon`. The command only
    reads: it needs the permissions to list nodes and pods.

    \b
    Examples:
      queue-processor nodes list
      queue-processor nodes list --output wide
      queue-processor nodes list --output name
    """  # noqa: D301 - after a real backspace the lines stay as they are
    (_, nodes), now = asyncio.run(_read()), _now()
    output.print_list(
        output_format,
        _HEADINGS,
        [row for node in nodes for row in node.rows(now=now)],
        names=[node.view.name for node in nodes],
        data=[node.fields(now=now) for node in nodes],
    )
    if not nodes:
        output.note("no node is held")


def uncordon_nodes(
    names: Annotated[list[str] | None, typer.Argument(metavar="NODE...", help="The nodes.")] = None,
    *,
    all_drills: Annotated[
        bool,
        typer.Option(
            "--all-drills", help="All nodes that only events of drills hold, once drained."
        ),
    ] = False,
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
      queue-processor nodes uncordon --all-drills
    """  # noqa: D301 - after a real backspace the lines stay as they are
    if bool(names) is all_drills:
        raise errors.UsageError("name the nodes, or use --all-drills")
    cluster_name, every = asyncio.run(_read())
    nodes = _by_name(every, names) if names else list(_of_drills(every))
    output.note(f"cluster: {cluster_name}")
    for node in nodes:
        output.note(_described(node))
    if not nodes:
        output.note("no node is held by drills alone")
    if dry_run or not nodes:
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


def _of_drills(nodes: Sequence[MarkedNode]) -> Iterator[MarkedNode]:
    """Yield the nodes that drills alone hold; print those that are still being drained."""
    for node in nodes:
        if not node.is_of_drills:
            continue
        problem = next(_problems(node.view.name, node), None)
        if problem is None:
            yield node
        else:
            output.note(f"left out: {problem}")


def _problems(name: str, node: MarkedNode | None) -> Iterator[str]:
    if node is None:
        yield f"{name}: not held by the operator; `nodes list` shows the nodes that are"
        return
    hold = uncordon.drain_of(node.view)
    if hold is not None:
        yield (
            f"{name}: being drained until {hold.deadline.at:%H:%M:%S} UTC because of {hold.kind}"
            f" (event {hold.event_id}); wait for the end of the drain"
        )


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
        if hold.deadline.is_hard and hold.deadline.at > now and not hold.is_of_drill:
            text += f"; its instance may go at {hold.deadline.at:%Y-%m-%d %H:%M:%S} UTC"
    return text


async def _uncordon(views: Sequence[NodeView]) -> None:
    async with connection.open_cluster() as opened:
        for view in views:
            if not await uncordon.uncordon(opened.api, view):
                raise errors.UsageError(f"{view.name}: another event holds it by now")
            output.note(f"{view.name}: back in use")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
