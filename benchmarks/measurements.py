"""Measure the cost of a storm: requests in the audit log, CPU time and memory."""

import collections
import http
import os
import pathlib
from collections.abc import Mapping, Sequence

from tests.cluster import plane
from tests.cluster.audit import Request

_TICKS = os.sysconf("SC_CLK_TCK")


def count(requests: Sequence[Request]) -> Mapping[str, int]:
    """Count requests by verb and resource, most frequent first."""
    counts = collections.Counter(f"{each.access.verb} {each.access.resource}" for each in requests)
    return dict(counts.most_common())


def cordoned_at(requests: Sequence[Request]) -> Mapping[str, float]:
    """Find the cordon of each node, its first successful patch, in seconds since the epoch."""
    return dict(reversed(_successful_patches(requests, "nodes")))


def drained_at(requests: Sequence[Request]) -> Mapping[str, float]:
    """Find the last condition that was written on each node, in seconds since the epoch."""
    return dict(_successful_patches(requests, "nodes/status"))


def eviction_seconds(requests: Sequence[Request]) -> Sequence[float]:
    """List how long the API server took for each eviction."""
    return [
        (each.answered_at - each.received_at).total_seconds()
        for each in requests
        if each.access.resource == "pods/eviction"
    ]


def _successful_patches(requests: Sequence[Request], resource: str) -> Sequence[tuple[str, float]]:
    patches = [
        (each.name, each.answered_at.timestamp())
        for each in requests
        if (each.access.verb, each.access.resource) == ("patch", resource)
        and each.code == http.HTTPStatus.OK
    ]
    return sorted(patches, key=lambda patch: patch[1])


def processor_times(control_plane: plane.ControlPlane) -> dict[str, float]:
    """Read the CPU time of each component of the control plane, by name."""
    return {name: cpu_seconds(control_plane.pid(name)) for name in control_plane.components}


def cpu_seconds(pid: int) -> float:
    """Read the CPU time of a process, in user mode and in the kernel."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mib(pid: int, field: str) -> float:
    """Read the memory of a process: `VmRSS` is what it has now, `VmHWM` the most it ever had."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Subtract what was measured before, value by value."""
    return {name: round(after[name] - before[name], 2) for name in after}
