"""How the controller is put together, out of settings and ports."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable, Coroutine

from queue_processor.controller import ports
from queue_processor.controller.consumer import Consumer
from queue_processor.controller.drainer import Cluster, DrainOptions
from queue_processor.controller.keepalive import Keepalive
from queue_processor.controller.leader_election import LeaderElector, LeaseTimes
from queue_processor.controller.limiter import PriorityLimiter
from queue_processor.controller.node_index import NodeIndex
from queue_processor.controller.pod_watcher import PodWatcher
from queue_processor.controller.processor import Processor
from queue_processor.controller.worker import DrainCoordinator
from queue_processor.observability import metrics
from queue_processor.observability.health import Liveness
from queue_processor.settings import Settings
from queue_processor.settings.groups import OnDeadline, OnSoftTimeout


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """The world, as the controller needs it.

    Attributes:
        managed: Narrows down which instances are ours; None: all nodes are.
        identity: Who we are in the election; no other process has the same.
        own_namespace: Of the pod that this process runs in, if it does.
    """

    queue: ports.MessageQueue
    lifecycle: ports.LifecycleActions
    managed: ports.ManagedInstances | None
    nodes: ports.Nodes
    pods: ports.Pods
    volumes: ports.Volumes
    leases: ports.Leases
    event_recorder: ports.EventRecorder
    notifier: ports.Notifier
    identity: str
    own_namespace: str | None


def build_controller(
    settings: Settings,
    parts: Dependencies,
    *,
    node_index: NodeIndex,
    liveness: Liveness,
    clock: ports.Clock,
) -> Callable[[], Coroutine[None, None, None]]:
    """Build the controller.

    Args:
        settings: How it behaves.
        parts: What it works with.
        node_index: The node index, complete when the result is called.
        liveness: Told that the loops make progress.
        clock: The present.

    Returns:
        What runs it: works whenever this process leads, until cancelled, and hands back
        what it has before it ends.
    """
    leadership = _leadership(settings, parts, liveness, clock)
    keepalive = Keepalive(
        queue=parts.queue,
        lifecycle=parts.lifecycle,
        visibility_timeout=dt.timedelta(seconds=settings.sqs.visibility_timeout_seconds),
        clock=clock,
    )
    requests = PriorityLimiter(
        settings.kubernetes.requests_in_flight,
        may_write=_always if leadership is None else leadership.is_held,
    )
    feed = PodWatcher(parts.pods)
    workers = DrainCoordinator(
        cluster=Cluster(
            nodes=parts.nodes,
            pods=parts.pods,
            feed=feed,
            volumes=parts.volumes,
            event_recorder=parts.event_recorder,
            notifier=parts.notifier,
            node_index=node_index,
            requests=requests,
        ),
        options=_drain_options(settings, parts.own_namespace),
        taint_effect=settings.drain.taint_effect.value,
        uncordons_on_soft_timeout=settings.drain.on_soft_timeout is OnSoftTimeout.UNCORDON,
        clock=clock,
    )
    processor = Processor(
        node_index=node_index,
        workers=workers,
        keepalive=keepalive,
        managed=parts.managed,
        decisions=settings.policy(),
        clock=clock,
    )
    consumer = Consumer(
        queue=parts.queue,
        lifecycle=parts.lifecycle,
        processor=processor,
        keepalive=keepalive,
        max_in_flight=settings.sqs.max_in_flight,
        liveness=liveness,
    )

    async def work() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(feed.run(), name="watch pods")
            tasks.create_task(consumer.run(), name="consume")

    async def lead() -> None:
        if leadership is None:
            metrics.IS_LEADER.set(1)
            await work()
        else:
            await leadership.run(work)

    return lead


def _always() -> bool:
    return True


def _leadership(
    settings: Settings, parts: Dependencies, liveness: Liveness, clock: ports.Clock
) -> LeaderElector | None:
    chosen = settings.leader_election
    if not chosen.enabled:
        return None
    return LeaderElector(
        leases=parts.leases,
        identity=parts.identity,
        times=LeaseTimes(
            duration=dt.timedelta(seconds=chosen.lease_duration_seconds),
            renew_deadline=dt.timedelta(seconds=chosen.renew_deadline_seconds),
            retry_period=dt.timedelta(seconds=chosen.retry_period_seconds),
        ),
        liveness=liveness,
        clock=clock,
    )


def _drain_options(settings: Settings, own_namespace: str | None) -> DrainOptions:
    drain, own_name = settings.drain, settings.kubernetes.pod_name
    return DrainOptions(
        force_deletes=drain.on_deadline is OnDeadline.DELETE,
        force_margin=dt.timedelta(seconds=drain.force_margin_seconds),
        volume_timeout=dt.timedelta(seconds=drain.volume_detach_timeout_seconds),
        declares_out_of_service=drain.out_of_service_taint,
        own_pod=(own_namespace, own_name) if own_namespace and own_name else None,
    )
