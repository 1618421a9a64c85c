"""Six hours of nodes that come and go, in virtual time: memory and metric series must not grow.

The real controller and adapters run in this process, beside the simulators, whose records grow. So
what counts is what can be reached from the operator, without the simulators.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import gc
import pathlib
import random
import sys
import time
import types
from collections.abc import Callable, Iterator

import looptime
import prometheus_client

from benchmarks.soak.findings import Finding, FindingKind, Trial
from queue_processor.domain import aws_events
from queue_processor.observability import metrics
from queue_processor.simulator.kube import manifests
from tests.controller import stage

_START = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
_HOURS = 6
_ROUND_SECONDS = 120
_STAYING, _NODES, _PODS_EACH = 200, 8, 3
# The next one has a change that is cancelled, and the last one has none.
_STRUCK = 6
_GROWTH = 0.05
_NOT_OURS = ("queue_processor.simulator", "tests.", "looptime", "_pytest", "importlib")
_SHARED = (type, types.ModuleType, types.CodeType)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChurnCampaign:
    """Hours of churn; each trial has all of them."""

    name: str
    faults: str
    trials: int
    hours: int = _HOURS

    def run(
        self, trials: int, seed: int, *, logs: pathlib.Path, report: Callable[[Trial], None]
    ) -> None:
        """Let the hours pass."""
        logs.mkdir(parents=True, exist_ok=True)
        for trial in range(trials):
            rng = random.Random(seed + trial)  # noqa: S311 not for secrets
            with (
                (logs / f"{self.name}-{trial}.log").open("w", encoding="utf-8") as log,
                contextlib.redirect_stdout(log),
                asyncio.Runner(loop_factory=_virtual_time) as runner,
            ):
                result = runner.run(self._try(rng))
            report(result)

    async def _try(self, rng: random.Random) -> Trial:
        began_at = time.monotonic()
        churn = _Churn(rng)
        await churn.start()
        for _ in range(self.hours):
            await churn.pass_an_hour()
        await churn.close()
        return Trial(
            faults=churn.messages,
            messages=churn.messages,
            seconds=time.monotonic() - began_at,
            findings=churn.findings(),
            figures="KiB of the operator after each hour: "
            + ", ".join(f"{size / 1024:.0f}" for size in churn.sizes),
        )


def _virtual_time() -> asyncio.AbstractEventLoop:
    # Nothing leaves this process, so that there is no I/O to poll for.
    return looptime.new_event_loop(noop_cycles=2)


class _Churn:
    """Nodes that come and go, one operator, and what it holds after each hour.

    Attributes:
        sizes: The memory of the operator after each hour, in bytes.
    """

    def __init__(self, rng: random.Random) -> None:
        self.sizes: list[int] = []
        self._rng = rng
        self._world = stage.World(_START)
        self._first = 0
        self._findings: list[Finding] = []

    async def start(self) -> None:
        """Start the operator, with nodes that stay."""
        self._world.add_nodes(_STAYING)
        self._first = _STAYING
        self._operator = await self._world.start()

    async def close(self) -> None:
        """Stop the operator; it must not have crashed."""
        await self._world.close()

    async def pass_an_hour(self) -> None:
        """Let nodes come and go for an hour, then measure."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + 3600
        while loop.time() < ends_at:
            next_at = loop.time() + _ROUND_SECONDS
            await self._play_round()
            await asyncio.sleep(max(next_at - loop.time(), 0))
        self._world.cluster.compact()
        gc.collect()
        self.sizes.append(size_of(self._operator))

    async def _play_round(self) -> None:
        world = self._world
        names = world.add_nodes(_NODES, first=self._first)
        for name in names:
            for number in range(_PODS_EACH):
                spec = manifests.PodSpec(exit_seconds=self._rng.uniform(0.1, 20))
                world.cluster.add_pod(f"{name}-{number}", node=name, spec=spec)
        await asyncio.sleep(1)
        change = aws_events.ScheduledChange(
            starts_at=world.clock() + dt.timedelta(hours=1),
            arn=f"arn:aws:health:us-east-1::event/EC2/{self._first}",
        )
        first = self._first
        for number in range(first, first + 3):
            world.send_spot(number)
            world.send_spot(number)
        world.send_rebalance(first + 3)
        world.send_state(first + 4, "stopping")
        world.send_termination(first + 5)
        world.send_change(first + 6, change)
        world.send_spot(first + _NODES + 1_000_000)
        world.queue.send({"source": "aws.s3", "detail-type": "Something else"})
        await asyncio.sleep(60)
        world.send_change(first + 6, change, status="closed")
        await world.until_settled(limit=200, step=1)
        for number, name in enumerate(names):
            if number < _STRUCK and world.pods_on(name):
                self._findings.append(Finding(FindingKind.LOST, f"{name} has pods left"))
            if number == _STRUCK and world.is_cordoned(name):
                self._findings.append(Finding(FindingKind.LOST, f"{name} is still cordoned"))
            world.cluster.remove_node(name)
        self._first += _NODES

    @property
    def messages(self) -> int:
        """Return how many messages were sent."""
        return len(self._world.queue.deleted) + self._world.queue.left

    def findings(self) -> list[Finding]:
        """Return what was lost, and what grew."""
        first, *_, last = self.sizes
        grown = [f"{first} bytes after an hour, then {last}"] * (last > first * (1 + _GROWTH))
        texts = [*grown, *(f"not in the catalogue: {series}" for series in _stray_series())]
        return [*self._findings, *(Finding(FindingKind.MEMORY, text) for text in texts)]


def _stray_series() -> Iterator[str]:
    """Yield the series that the catalogue of metrics does not foresee."""
    entries = {entry.name: entry for entry in metrics.CATALOGUE.entries}
    for family in prometheus_client.REGISTRY.collect():
        for sample in family.samples:
            name = sample.name if sample.name in entries else sample.name.rpartition("_")[0]
            if not name.startswith("queue_processor"):
                continue
            labels = {k: v for k, v in sample.labels.items() if k != "le"}
            foreseen = {label.name: label.values for label in entries[name].labels}
            if labels.keys() != foreseen.keys() or any(
                foreseen[label] and value not in foreseen[label] for label, value in labels.items()
            ):
                yield f"{sample.name}{sample.labels}"


def size_of(root: object) -> int:
    """Return the bytes of all objects that can be reached from one, without the simulators.

    Classes, modules and the code of functions are shared with everything else, and do not grow.
    """
    seen: set[int] = set()
    waiting, size = [root], 0
    while waiting:
        each = waiting.pop()
        is_ours = each is root or not type(each).__module__.startswith(_NOT_OURS)
        if id(each) in seen or not is_ours or isinstance(each, _SHARED):
            continue
        seen.add(id(each))
        size += sys.getsizeof(each)
        if isinstance(each, types.FunctionType):
            waiting += each.__closure__ or ()
        else:
            waiting += gc.get_referents(each)
    return size
