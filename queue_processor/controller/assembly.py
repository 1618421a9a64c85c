"""Assemble the controller from settings and ports."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable, Coroutine, Mapping
from typing import TypeAlias, assert_never

from queue_processor.controller import ports
from queue_processor.controller.adaptive_limit import AdaptiveLimit
from queue_processor.controller.cancellations import Cancellations
from queue_processor.controller.consumer import Consumer, InFlightMessages
from queue_processor.controller.drain_context import DrainContext, DrainOptions
from queue_processor.controller.drain_coordinator import DrainCoordinator
from queue_processor.controller.leader_election import LeaderElector
from queue_processor.controller.lifecycle import LifecycleHeartbeats
from queue_processor.controller.limiter import PriorityLimiter
from queue_processor.controller.node_index import NodeIndex
from queue_processor.controller.node_reconciler import NodeReconciler
from queue_processor.controller.node_refresh import NodeRefresh
from queue_processor.controller.notice_source import NoticeSource
from queue_processor.controller.plan_observer import PlanObserver
from queue_processor.controller.pod_watcher import PodWatcher
from queue_processor.controller.ports import Dependencies
from queue_processor.controller.processor import PlanExecutor, Processor
from queue_processor.controller.remaining_pods import RemainingPods
from queue_processor.controller.waiting import Turnstile
from queue_processor.domain.leases import LeaseTimes
from queue_processor.domain.policy import Mode
from queue_processor.observability import metrics
from queue_processor.observability.health import Liveness
from queue_processor.settings import Settings
from queue_processor.settings.groups import OnDeadline, OnSoftTimeout

# Of pods that are due in the same moment, in one iteration of the event loop.
_DUE_AT_ONCE = 20
_Runs: TypeAlias = Callable[[], Coroutine[None, None, None]]


def build_controller(
    settings: Settings,
    dependencies: Dependencies,
    *,
    node_index: NodeIndex,
    node_refresh: NodeRefresh,
    liveness: Liveness,
    clock: ports.Clock,
) -> Callable[[], Coroutine[None, None, None]]:
    """Build the controller.

    Args:
        settings: How it behaves.
        dependencies: What it works with.
        node_index: The node index, complete when the result is called.
        node_refresh: Lists nodes anew; it runs while the result does.
        liveness: Gets a heartbeat whenever a loop makes progress.
        clock: The present.

    Returns:
        A coroutine function that works whenever this process leads, until cancelled, and releases
        its messages before it ends.
    """
    leadership = _leadership(settings, dependencies, liveness, clock)
    is_observing = settings.mode is Mode.OBSERVE
    heartbeats = LifecycleHeartbeats(
        dependencies.lifecycle, is_recording=not is_observing, clock=clock
    )
    pinned = settings.kubernetes.requests_in_flight
    limiter = PriorityLimiter(
        AdaptiveLimit() if pinned is None else AdaptiveLimit(floor=pinned, ceiling=pinned),
        may_write=_always if leadership is None else leadership.is_held,
        on_busy=lambda is_busy: dependencies.event_recorder.hold_back(is_busy=is_busy),
    )
    cancellations = Cancellations(clock)
    work_on_plans = _plan_work(
        settings,
        dependencies,
        node_index=node_index,
        cancellations=cancellations,
        limiter=limiter,
        clock=clock,
    )
    processor = Processor(
        node_index=node_index,
        node_refresh=node_refresh,
        executor=work_on_plans.executor,
        cancellations=cancellations,
        heartbeats=heartbeats,
        dependencies=dependencies,
        decisions=settings.policy(),
        clock=clock,
    )
    sources = [*dependencies.sources]
    if settings.sources.notices.enabled:
        sources.append(
            NoticeSource(
                node_index=node_index,
                nodes=dependencies.nodes,
                event_recorder=dependencies.event_recorder,
                is_observing=is_observing,
                clock=clock,
            )
        )
    consumer = Consumer(
        sources=sources,
        lifecycle=dependencies.lifecycle,
        processor=processor,
        heartbeats=heartbeats,
        in_flight=InFlightMessages(limit=settings.sources.max_in_flight, clock=clock),
        liveness=liveness,
    )

    async def work() -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(consumer.run(), name="consume")
                for name, run in work_on_plans.beside.items():
                    tasks.create_task(run(), name=name)
        finally:
            dependencies.event_recorder.hold_back(is_busy=False)
            # The next leader would evict these pods again.
            await dependencies.pods.await_answers()

    async def lead() -> None:
        if leadership is None:
            metrics.IS_LEADER.set(1)
            await work()
        else:
            await leadership.run(work)

    return lead


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _PlanWork:
    """The executor of plans.

    Attributes:
        executor: Takes each plan.
        beside: What runs beside the consumer for that, by the name of its task.
    """

    executor: PlanExecutor
    beside: Mapping[str, _Runs]


def _plan_work(
    settings: Settings,
    dependencies: Dependencies,
    *,
    node_index: NodeIndex,
    cancellations: Cancellations,
    limiter: PriorityLimiter,
    clock: ports.Clock,
) -> _PlanWork:
    """Decide whether plans are carried out or reported: nothing else that writes is built then."""
    options = _drain_options(settings, dependencies.own_namespace)
    match settings.mode:
        case Mode.OBSERVE:
            observer = PlanObserver(
                dependencies.guarded_pods,
                node_index=node_index,
                cancellations=cancellations,
                limiter=limiter,
                force_margin=options.force_margin if options.force_deletes else None,
                clock=clock,
            )
            return _PlanWork(executor=observer, beside={})
        case Mode.DRAIN:
            pod_watcher = PodWatcher(
                dependencies.pods, limiter=limiter, count_nodes=lambda: len(node_index)
            )
            context = DrainContext(
                ports=dependencies,
                node_index=node_index,
                pod_watcher=pod_watcher,
                limiter=limiter,
                remaining_pods=RemainingPods(),
                turnstile=Turnstile(at_once=_DUE_AT_ONCE),
                options=options,
                clock=clock,
            )
            coordinator = DrainCoordinator(context, cancellations=cancellations)
            reconciler = NodeReconciler(node_index=node_index, coordinator=coordinator)
            return _PlanWork(
                executor=coordinator,
                beside={"watch pods": pod_watcher.run, "reconcile nodes": reconciler.run},
            )
        case _:
            assert_never(settings.mode)


def _always() -> bool:
    return True


def _leadership(
    settings: Settings, dependencies: Dependencies, liveness: Liveness, clock: ports.Clock
) -> LeaderElector | None:
    if not settings.elects_leader:
        return None
    election = settings.leader_election
    return LeaderElector(
        leases=dependencies.leases,
        identity=dependencies.identity,
        times=LeaseTimes(
            duration=dt.timedelta(seconds=election.lease_duration_seconds),
            renew_deadline=dt.timedelta(seconds=election.renew_deadline_seconds),
            retry_period=dt.timedelta(seconds=election.retry_period_seconds),
        ),
        liveness=liveness,
        clock=clock,
    )


def _drain_options(settings: Settings, own_namespace: str | None) -> DrainOptions:
    drain, own_name = settings.drain, settings.kubernetes.pod_name
    return DrainOptions(
        taint_effect=drain.taint_effect,
        force_deletes=drain.on_deadline is OnDeadline.DELETE,
        force_margin=dt.timedelta(seconds=drain.force_margin_seconds),
        volume_timeout=dt.timedelta(seconds=drain.volume_detach_timeout_seconds),
        declares_out_of_service=drain.out_of_service_taint,
        uncordons_on_soft_timeout=drain.on_soft_timeout is OnSoftTimeout.UNCORDON,
        own_pod=(own_namespace, own_name) if own_namespace and own_name else None,
    )
