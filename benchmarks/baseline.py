"""The baseline: the same pods, evicted by the same client, and nothing else done.

No operator on this machine drains the nodes faster, as long as the baseline is not held back
itself. So it tries how many evictions at a time are best, and does not take over the operator's
limit. It runs in a process of its own, as the operator does: within this one it would share an
interpreter with what watches it, and the operator would have an advantage. It has listed the pods,
and opened no connection for evictions, before its time begins; the operator has to receive its
messages and find the pods within its time. Each measurement has a new control plane, because one
that has removed thousands of pods has a longer history.
"""

import asyncio
import contextlib
import os
import pathlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from benchmarks import measurements
from benchmarks.environment import BenchmarkEnvironment, Load
from benchmarks.figures import Figures
from benchmarks.measurements import MachineTimes
from tests.cluster import plane

_LEAST = 12
# The API server refuses more than 200 requests at once that change something, by default.
# https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/
_MOST = 192
# What is less than that may be noise.
_GAIN = 0.03


class BareEvictionsError(Exception):
    """An eviction was not accepted."""


async def bare_evictions(load: Load, at_once: int) -> Figures:
    """Evict all pods, so many at a time; times are seconds since the beginning."""
    async with BenchmarkEnvironment.started(load) as environment:
        kubelets_log = environment.log_of(plane.KUBELETS)
        async with _process(at_once, await environment.write_kubeconfig()) as process:
            machine_before, began = MachineTimes.read(), time.time()
            output, _ = await process.communicate(b"\n")
        if process.returncode:
            raise BareEvictionsError("the bare evictions failed, as printed above")
        gone_at = await environment.pods_gone_at(kubelets_log)
        return {
            **measurements.percentiles("pods gone", (at - began for at in gone_at.values())),
            "CPU a node, ms": 1000 * float(output) / load.nodes,
            measurements.OTHERS: MachineTimes.read().others_percent(machine_before),
        }


@contextlib.asynccontextmanager
async def _process(
    at_once: int, kubeconfig: pathlib.Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start the process that evicts, and wait until it has listed the pods."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "benchmarks.evictions", str(at_once)),
        env={"PATH": os.environ["PATH"], "KUBECONFIG": str(kubeconfig)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    try:
        await process.stdout.readline()
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def concurrency_curve(
    measure: Callable[[int], Awaitable[float]],
) -> Mapping[int, float]:
    """Double the concurrency until that is no gain any more, or refused.

    Args:
        measure: Returns the seconds that evictions take, so many at a time.

    Returns:
        The seconds by concurrency; the last one is one too many, or the most.
    """
    curve: dict[int, float] = {}
    at_once = _LEAST
    while at_once <= _MOST and not _is_over(list(curve.values())):
        curve[at_once] = await measure(at_once)
        at_once *= 2
    return curve


def best_concurrency(curve: Mapping[int, float]) -> int:
    """Return the concurrency that takes least time."""
    return min(curve, key=curve.__getitem__)


def _is_over(seconds: Sequence[float]) -> bool:
    return len(seconds) > 1 and seconds[-1] > (1 - _GAIN) * min(seconds[:-1])
