"""Measure the cost of a storm: requests in the audit log, CPU time and memory."""

import collections
import contextlib
import dataclasses
import http
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from benchmarks.figures import Figures
from queue_processor.simulator.demo.results import Spread
from tests.cluster import plane
from tests.cluster.audit import Request

#: The figure that shows whether the machine did something else.
OTHERS = "CPU of others, %"
_TICKS = os.sysconf("SC_CLK_TCK")


def percentiles(name: str, values: Iterable[float]) -> Figures:
    """Return p50, p99 and the maximum."""
    spread = dataclasses.asdict(Spread.of(values))
    return {f"{name} {each}": value for each, value in spread.items() if value is not None}


def count(requests: Sequence[Request]) -> Mapping[str, int]:
    """Count requests by verb and resource, most frequent first."""
    counts = collections.Counter(f"{each.access.verb} {each.access.resource}" for each in requests)
    return dict(counts.most_common())


def cordoned_at(requests: Sequence[Request]) -> Mapping[str, float]:
    """Find the cordon of each node, its first successful patch, in seconds since the epoch."""
    return dict(reversed(_successes(requests, "patch", "nodes")))


def drained_at(requests: Sequence[Request]) -> Mapping[str, float]:
    """Find the last condition that was written on each node, in seconds since the epoch."""
    return dict(_successes(requests, "patch", "nodes/status"))


def pods_gone_at(requests: Sequence[Request]) -> Mapping[str, float]:
    """Find when each pod was gone: its kubelet deleted it, in seconds since the epoch."""
    return dict(_successes(requests, "delete", "pods"))


def eviction_seconds(requests: Sequence[Request]) -> Sequence[float]:
    """List how long the API server took for each eviction."""
    return [
        (each.answered_at - each.received_at).total_seconds()
        for each in requests
        if each.access.resource == "pods/eviction"
    ]


def _successes(
    requests: Sequence[Request], verb: str, resource: str
) -> Sequence[tuple[str, float]]:
    successes = [
        (each.name, each.answered_at.timestamp())
        for each in requests
        if (each.access.verb, each.access.resource) == (verb, resource)
        and each.code == http.HTTPStatus.OK
    ]
    return sorted(successes, key=lambda success: success[1])


@dataclasses.dataclass(frozen=True, slots=True)
class MachineTimes:
    """The CPU times of the machine in seconds, since it started.

    https://man7.org/linux/man-pages/man5/proc_stat.5.html

    Attributes:
        total: Of all cores, idle or not.
        busy: Of all programs and interrupts, and what other machines on the same host took from
            this one. Interrupts count as others only if the kernel has CONFIG_IRQ_TIME_ACCOUNTING;
            else they are in the times of the processes that they interrupt.
        ours: Of this process and of those that it started; of those that ended, too.
    """

    total: float
    busy: float
    ours: float

    @classmethod
    def read(cls) -> Self:
        """Read the times of this moment."""
        line = pathlib.Path("/proc/stat").read_text(encoding="utf-8").partition("\n")[0]
        user, nice, system, idle, iowait, irq, softirq, steal, *_ = map(int, line.split()[1:])
        busy = user + nice + system + irq + softirq + steal
        return cls((busy + idle + iowait) / _TICKS, busy / _TICKS, _our_cpu_seconds())

    def others_percent(self, before: "MachineTimes") -> float:
        """Return the share of the CPU time since then that was not ours."""
        others = (self.busy - before.busy) - (self.ours - before.ours)
        # The kernel counts the time of all in ticks, and that of a process in nanoseconds.
        return max(0.0, round(100 * others / (self.total - before.total), 2))


def _our_cpu_seconds() -> float:
    """Add up utime and stime of us and our children, and of the children that have ended."""
    us, ticks = os.getpid(), 0
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        # A process of others may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = _stat(int(folder.name))
            if us in {int(folder.name), int(fields[1])}:
                ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


def processor_times(control_plane: plane.ControlPlane) -> dict[str, float]:
    """Read the CPU time of each component of the control plane, by name."""
    return {name: cpu_seconds(control_plane.pid(name)) for name in control_plane.components}


def cpu_seconds(pid: int) -> float:
    """Read the CPU time of a process, in user mode and in the kernel."""
    return sum(map(int, _stat(pid)[11:13])) / _TICKS


def _stat(pid: int) -> Sequence[str]:
    """Read the fields after the name, which may hold spaces.

    https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: the first one here is `state`.
    """
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def memory_mib(pid: int, field: str) -> float:
    """Read the memory of a process: `VmRSS` is what it has now, `VmHWM` the most it ever had."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)
