"""`queue-processor imds serve`: instance metadata of many nodes on one port."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import os
import pathlib
import re
import signal
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated

import typer

from queue_processor.domain import errors
from queue_processor.simulator.imds import control, http, schedule, service
from queue_processor.simulator.imds.control import ControlApi
from queue_processor.simulator.imds.fleet import MetadataFleet
from queue_processor.simulator.imds.schedule import ScheduledAnnouncement
from queue_processor.simulator.imds.service import MetadataService, TokenPolicy

_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]/\s]+):(?P<port>[0-9]{1,5})", re.ASCII)
_LAST_PORT = 65_535
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_ANY = frozenset({"0.0.0.0", "::"})  # noqa: S104 - to recognize it
_KUBECONFIG = pathlib.Path("~/.kube/config")


def serve(
    *,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The address. Port 0: any free port.")
    ] = "127.0.0.1:8169",
    tokens: Annotated[
        TokenPolicy,
        typer.Option(help="required: IMDSv2 alone, so that a request without a token gets a 401."),
    ] = TokenPolicy.OPTIONAL,
    hop_limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            metavar="N",
            help="A token travels N hops at most: further away, its request gets no answer. The"
            " limit is the TTL of the IP packets, as on EC2, so a proxy on the way ends it; kubectl"
            " port-forward is one.  [default: no limit]",
            show_default=False,
        ),
    ] = None,
    schedule_file: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--schedule",
            metavar="FILE",
            help="A YAML file: what is announced, when, and to which nodes.",
        ),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Read no cluster: every name is the name of a node."),
    ] = False,
) -> None:
    """Serve instance metadata (IMDS) for handlers of interruptions, until Ctrl-C.

    Each node has a path, /nodes/NAME/latest/meta-data/..., for handlers whose endpoint can be set.
    A request for /latest/... is about the node that has the address of the caller. Values come
    from the Nodes of the cluster that KUBECONFIG names, or that the pod runs in, and follow their
    changes. Without a cluster they are invented, and always the same for a name.

    Nothing is announced until `queue-processor imds send` does, or the schedule. In the cluster,
    the command only reads Nodes.

    A schedule is a list of notices. Each begins after a delay or at a time:

    \b
      notices:
        - begins: 30s
          kind: spot_interruption
          nodes: [ip-10-0-1-7.ec2.internal]
          in: 2min
        - begins: 2026-12-01T09:00:00Z
          kind: scheduled_change
          nodes: [ip-10-0-1-8.ec2.internal]

    \b
    Examples:
      queue-processor imds serve
      queue-processor imds serve --tokens required --schedule storm.yaml
      queue-processor imds serve --offline --listen 127.0.0.1:0
    """  # noqa: D301 - after a real backspace the lines stay as they are
    host, port = _parse_address(listen)
    options = ServeOptions(
        host=host,
        port=port,
        tokens=tokens,
        hop_limit=hop_limit,
        entries=() if schedule_file is None else _load_schedule(schedule_file),
    )
    asyncio.run(_serve(options, reads_cluster=not offline and _has_cluster()))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Everything that the server needs to know before it starts."""

    host: str
    port: int
    tokens: TokenPolicy
    hop_limit: int | None
    entries: Sequence[ScheduledAnnouncement]


def _load_schedule(path: pathlib.Path) -> Sequence[ScheduledAnnouncement]:
    # Imported here, because YAML takes two MiB for as long as the process runs.
    from queue_processor.simulator.imds import schedule_file  # noqa: PLC0415

    return schedule_file.load(path, started_at=_now())


def _parse_address(text: str) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > _LAST_PORT:
        raise errors.UsageError(f"--listen: {text!r} is not an address such as 127.0.0.1:8169")
    return match["host"].strip("[]"), int(match["port"])


def _has_cluster() -> bool:
    """Return True if something names a cluster: to ask the client costs its import, 30 MiB."""
    return (
        bool(os.environ.get("KUBECONFIG"))
        or "KUBERNETES_SERVICE_HOST" in os.environ
        or _KUBECONFIG.expanduser().exists()
    )


async def _serve(options: ServeOptions, *, reads_cluster: bool) -> None:
    fleet = MetadataFleet([] if reads_cluster else None)
    api = ControlApi(fleet, now=_now, on_announced=typer.echo)
    server = http.MetadataServer(
        MetadataService(fleet, token_policy=options.tokens), api, hop_limit=options.hop_limit
    )
    async with contextlib.AsyncExitStack() as stack:
        follows: list[Callable[[], Coroutine[None, None, None]]] = []
        if reads_cluster:
            # Imported here for its size: without a cluster nothing of it is needed.
            from queue_processor.imds import nodes  # noqa: PLC0415

            feed = await stack.enter_async_context(nodes.connected(fleet))
            follows.append(feed.run)
        stack.push_async_callback(server.stop)
        stop = _stop_on_signals()
        port = await server.start(options.host, options.port)
        for line in _introduction(options, port, fleet if reads_cluster else None):
            typer.echo(line)
        await _run_until(
            stop,
            schedule.run(options.entries, announce=api.announce, now=_now, on_error=_report),
            *(follow() for follow in follows),
        )


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows has none; there, Ctrl-C is a KeyboardInterrupt.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    return stop


async def _run_until(stop: asyncio.Event, *beside: Coroutine[None, None, None]) -> None:
    """Run this beside the server until the end; a crash of it is one of the process."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in beside]
        await stop.wait()
        for task in tasks:
            task.cancel()


def _introduction(options: ServeOptions, port: int, fleet: MetadataFleet | None) -> list[str]:
    host = "THIS-HOST" if options.host in _ANY else options.host
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    node_url = f"{url}{service.NODES}NAME"
    nodes = "every name is a node" if fleet is None else f"{fleet.size} nodes of the cluster"
    lines = [
        f"instance metadata on {url}: {nodes}, tokens {options.tokens}",
        f"one node: {node_url}/latest/meta-data/",
        "point a handler of the node NAME here:",
        f"  our watcher                   IMDS_ENDPOINT={node_url}",
        f"  aws-node-termination-handler  INSTANCE_METADATA_URL={node_url}",
        f"  AWS SDKs and the AWS CLI      AWS_EC2_METADATA_SERVICE_ENDPOINT={node_url}",
        f"announce something: queue-processor imds send KIND --node NAME --server {url}",
    ]
    if options.host not in _LOOPBACK:
        lines.append(
            f"anyone who reaches {url}{control.PATH} can announce interruptions to the handlers"
            " that are pointed here"
        )
    return lines


def _report(line: str) -> None:
    typer.echo(line, err=True)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
