"""How quick the simulated cluster is."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Delays in seconds of the loop's clock."""

    #: From being bound to Running and Ready, where the pod does not say.
    startup_seconds: float = 0.5
    #: From SIGTERM to the end of the containers, where the pod does not say.
    exit_seconds: float = 1.0
    #: How far the status of disruption budgets lags behind the pods.
    budget_lag_seconds: float = 0.02
    #: From the death of a kubelet to the Ready condition Unknown; 50 s in a real cluster.
    node_grace_seconds: float = 0.0
    #: From the removal of a Node to the removal of the pods on it; 40 s or more for real.
    orphan_seconds: float = 40.0
    #: From the end of the last pod that used a volume on a node to its detachment.
    detach_seconds: float = 1.0
    #: The same when the node is not Ready and not marked out of service.
    unsafe_detach_seconds: float = 360.0
    #: How many changes of each resource are kept for watches and paged lists.
    log_size: int = 50_000
