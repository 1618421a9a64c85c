"""Options and services that all drains share."""

import dataclasses
import datetime as dt

from queue_processor.controller.limiter import PriorityLimiter
from queue_processor.controller.node_index import NodeIndex
from queue_processor.controller.pod_watcher import PodWatcher
from queue_processor.controller.ports import Clock, Dependencies
from queue_processor.controller.remaining_pods import RemainingPods
from queue_processor.controller.waiting import Turnstile
from queue_processor.domain.nodes import TaintEffect


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DrainOptions:
    """Options of cordons and drains.

    Attributes:
        taint_effect: The effect of the taint on a cordoned node.
        force_deletes: A pod that its budget blocks is deleted at a hard deadline.
        force_margin: How long before the deadline at the latest.
        volume_timeout: How long a drained node waits for its volumes to be detached.
        declares_out_of_service: A dead node gets the out-of-service taint.
        uncordons_on_soft_timeout: A node whose drain gave up is uncordoned.
        own_pod: Namespace and name of the pod that this program runs in; None outside of a cluster.
    """

    taint_effect: TaintEffect
    force_deletes: bool
    force_margin: dt.timedelta
    volume_timeout: dt.timedelta
    declares_out_of_service: bool
    uncordons_on_soft_timeout: bool
    own_pod: tuple[str, str] | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DrainContext:
    """The ports, and what this process keeps once for all of its drains.

    Attributes:
        ports: The cluster, and who is notified about it.
        limiter: Admits every request of a drain.
        turnstile: Passed by each pod that is due before anything more is done with it.
    """

    ports: Dependencies
    node_index: NodeIndex
    pod_watcher: PodWatcher
    limiter: PriorityLimiter
    remaining_pods: RemainingPods
    turnstile: Turnstile
    options: DrainOptions
    clock: Clock
