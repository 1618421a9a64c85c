"""The ready replicas of each workload, against what it needs."""

import dataclasses

from queue_processor.simulator.demo.results import Observations, workload_of
from queue_processor.simulator.demo.scenario import Workload


@dataclasses.dataclass(frozen=True, slots=True)
class WorkloadResult:
    """The low point of one workload.

    Attributes:
        lowest: The fewest replicas that were ready at a time.
        shortfall: Why these were fewer than it needs; empty if they were not.
    """

    workload: Workload
    lowest: int
    shortfall: str

    def __str__(self) -> str:
        ready = f"{self.lowest} of {self.workload.replicas} ready"
        because = f", {self.workload.min_ready} needed: {self.shortfall}" if self.shortfall else ""
        return f"{self.workload.name}: {ready}{because}"


def workload_results(observed: Observations) -> tuple[WorkloadResult, ...]:
    """List the low points of all workloads, in the order of the scenario."""
    return tuple(_result(workload, observed) for workload in observed.scenario.workloads)


def _result(workload: Workload, observed: Observations) -> WorkloadResult:
    low = observed.lows.get(workload.name)
    lowest = workload.replicas if low is None else low.count
    is_short = lowest < workload.min_ready
    return WorkloadResult(workload, lowest, _reason(workload, observed) if is_short else "")


def _reason(workload: Workload, observed: Observations) -> str:
    if workload.name in map(workload_of, observed.deleted_at_deadline):
        return "the deadline overrode its budget"
    if workload.replicas == 1:
        return "its single replica had to move"
    if workload.budget is None:
        return "it has no budget, and all its replicas had to move at once"
    return "it lost pods against its budget"
