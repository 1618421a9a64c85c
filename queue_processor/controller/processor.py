"""The story of one message: read → plan → act → outcome."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from queue_processor.controller import log_fields, ports, waiting
from queue_processor.controller.cancellations import Cancellations
from queue_processor.controller.lifecycle import LifecycleHeartbeats
from queue_processor.controller.node_index import NodeIndex
from queue_processor.controller.node_refresh import NodeRefresh
from queue_processor.domain import deadlines, errors, policy
from queue_processor.domain.events import Ignored, InstanceState, InterruptionEvent
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.plan import (
    Action,
    HandledInstance,
    InstanceReport,
    InstanceResult,
    Outcome,
    Plan,
    Processed,
)
from queue_processor.domain.policy import GroupEvidence, Policy
from queue_processor.observability import metrics, tracing

_log = structlog.get_logger(__name__)

# From the start of an instance to its node being Ready; later than that, the node itself shows it.
_LONGEST_RETURN = dt.timedelta(minutes=10)

STOPPED = "the process stops, or leads no more"


class PlanExecutor(Protocol):
    """Carries plans out, or only reports what they would do."""

    async def carry_out_on_nodes_of(
        self, instance_id: InstanceId, plan_for: Callable[[NodeView], Plan]
    ) -> InstanceReport:
        """Carry out a plan on every Node of an instance, or report it.

        Raises:
            TemporaryError: The API server could not be reached in time.
            PermanentError: The API server refuses us.
        """


class Processor:
    """Turns messages into outcomes."""

    def __init__(  # noqa: PLR0913 - what it works with, each by name
        self,
        *,
        node_index: NodeIndex,
        node_refresh: NodeRefresh,
        executor: PlanExecutor,
        cancellations: Cancellations,
        heartbeats: LifecycleHeartbeats,
        dependencies: ports.Dependencies,
        decisions: Policy,
        clock: ports.Clock,
    ) -> None:
        """Build the processor.

        Args:
            node_index: Finds nodes.
            node_refresh: Confirms that there is none.
            executor: Drains them, or reports that it would.
            cancellations: Takes in what events cancel.
            heartbeats: Keep lifecycle actions open; the consumer stops them.
            dependencies: Decide whether instances and groups are ours.
            decisions: What the operator's owner decided.
            clock: The present.
        """
        self._node_index = node_index
        self._node_refresh = node_refresh
        self._executor = executor
        self._cancellations = cancellations
        self._heartbeats = heartbeats
        self._lifecycle = dependencies.lifecycle
        self._managed = dependencies.managed
        self._policy = decisions
        self._clock = clock

    async def process(self, delivery: ports.Delivery) -> Processed:
        """Carry one message from receipt to its outcome.

        A failure is an outcome, too, and so is a cancellation: it ends the work at once, and the
        result holds what has been done until then.
        """
        try:
            return await self._process(delivery)
        except Exception as error:  # noqa: BLE001 - the error is logged, and costs one message
            return Processed(outcome=_failed(error, delivery))

    async def _process(self, delivery: ports.Delivery) -> Processed:
        try:
            event = delivery.read()
        except errors.MalformedMessage as error:
            return Processed(outcome=policy.dead_letter(error))
        if isinstance(event, Ignored):
            return Processed(outcome=policy.ignored(event.reason), event=event)
        structlog.contextvars.bind_contextvars(event_id=event.event_id, kind=event.kind.value)
        tracing.describe(
            {"queue_processor.event_id": event.event_id, "queue_processor.kind": event.kind.value}
        )
        age = (self._clock() - event.occurred_at).total_seconds()
        metrics.EVENT_AGE.labels(kind=event.kind).observe(max(age, 0.0))
        if (reason := self._policy.ignore_reason(event)) is not None:
            return _unhandled(event, policy.ignored(reason))
        try:
            event = await self._hold(delivery, event)
        except asyncio.CancelledError:
            return _unhandled(event, policy.release(STOPPED))
        return await self._handle_instances(delivery, event)

    async def _hold(self, delivery: ports.Delivery, event: InterruptionEvent) -> InterruptionEvent:
        """Start the heartbeats of an event's lifecycle action, which says how long it lasts."""
        if event.lifecycle_action is None:
            return event
        action = await self._heartbeats.with_hook_timeout(event.lifecycle_action)
        is_launch = self._policy.action_for(event) is Action.AWAIT_READY

        async def await_progress() -> None:
            if is_launch:
                await self._node_index.until(action.instance_id, lambda node: node is not None)

        self._heartbeats.start(
            delivery.id, action, since=event.occurred_at, await_progress=await_progress
        )
        return dataclasses.replace(event, lifecycle_action=action)

    async def _handle_instances(
        self, delivery: ports.Delivery, event: InterruptionEvent
    ) -> Processed:
        """Handle every instance; one that fails does not stop the others."""
        instances = await self._handle_each(event)
        outcome = await self._outcome_of(event, instances, delivery)
        return Processed(outcome=outcome, event=event, instances=instances)

    async def _handle_each(self, event: InterruptionEvent) -> tuple[HandledInstance, ...]:
        if len(event.instance_ids) == 1:
            # In a storm of a thousand nodes, a task for each of them is a thousand too many.
            return (await self._handle(event, event.instance_ids[0]),)
        tasks = [
            asyncio.create_task(self._handle(event, instance_id), name=f"handle {instance_id}")
            for instance_id in event.instance_ids
        ]
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError:
            await waiting.end(tasks)
        return tuple(
            HandledInstance(instance_id=instance_id) if task.cancelled() else task.result()
            for instance_id, task in zip(event.instance_ids, tasks, strict=True)
        )

    async def _outcome_of(
        self,
        event: InterruptionEvent,
        instances: Sequence[HandledInstance],
        delivery: ports.Delivery,
    ) -> Outcome:
        if any(each.is_unfinished for each in instances):
            return policy.release(STOPPED)
        error = next((each.error for each in instances if each.error is not None), None)
        if error is not None:
            return _failed(error, delivery)
        reports = [each.report for each in instances if each.report is not None]
        try:
            evidence = await self._group_evidence(event, reports)
        except asyncio.CancelledError:
            return policy.release(STOPPED)
        except errors.TemporaryError as failure:
            return _failed(failure, delivery)
        return policy.outcome_of(
            event,
            reports,
            policy=self._policy,
            receive_count=delivery.receive_count,
            evidence=evidence,
        )

    async def _group_evidence(
        self, event: InterruptionEvent, reports: Sequence[InstanceReport]
    ) -> GroupEvidence:
        """Look up whether the group of a lifecycle action is ours, where the outcome needs it."""
        action = event.lifecycle_action
        if action is None or not policy.needs_evidence(event, reports, policy=self._policy):
            return policy.NOT_LOOKED_UP
        try:
            if not await self._is_managed(action.instance_id):
                return policy.no_evidence("the instance does not have the tag managed_tag")
            group = await self._lifecycle.group(action.hook.group)
        except (errors.NotFound, errors.PermanentError) as error:
            return policy.no_evidence(str(error))
        if self._node_index.has_new_nodes:
            # One of them may be the instance, or the evidence.
            raise errors.TemporaryError("a new node has not been initialized yet")
        nodes = (self._node_index.find(instance_id) for instance_id in group.instance_ids)
        return policy.group_evidence(
            group,
            nodes_of_group=[node.name for node in nodes if node is not None],
            unmapped=self._node_index.unmapped,
            policy=self._policy,
        )

    async def _handle(self, event: InterruptionEvent, instance_id: InstanceId) -> HandledInstance:
        """Handle one instance; a failure or a cancellation does not lose the plans."""
        event = event.about(instance_id)
        plans: list[Plan] = []
        try:
            report = await self._carry_out(event, instance_id, plans)
        except asyncio.CancelledError:
            return HandledInstance(instance_id=instance_id, plans=tuple(plans))
        except Exception as error:  # noqa: BLE001 - it decides the outcome of the message
            return HandledInstance(instance_id=instance_id, plans=tuple(plans), error=error)
        metrics.INSTANCES.labels(kind=event.kind, result=report.result).inc()
        return HandledInstance(instance_id=instance_id, plans=tuple(plans), report=report)

    async def _carry_out(
        self, event: InterruptionEvent, instance_id: InstanceId, plans: list[Plan]
    ) -> InstanceReport:
        """Do what the event asks for about one instance, and collect what was planned for that."""
        if event.is_cancelled:
            self._cancellations.keep(event, instance_id)
        is_launch = self._policy.action_for(event) is Action.AWAIT_READY
        if not (is_launch or await self._has_joined(event, instance_id)):
            return InstanceReport(instance_id=instance_id, result=InstanceResult.UNKNOWN_INSTANCE)
        if not await self._is_managed(instance_id):
            node = self._node_index.find(instance_id)
            return InstanceReport(
                instance_id=instance_id,
                result=InstanceResult.NOT_MANAGED,
                node_name=None if node is None else node.name,
            )
        if is_launch:
            plan = policy.plan_without_node(
                event, instance_id, policy=self._policy, now=self._clock()
            )
            self._announce(plan, plans)
            return await self._await_ready(event, plan)

        if event.instance_state is InstanceState.RUNNING:
            await self._await_return(instance_id)

        def plan_for(node: NodeView) -> Plan:
            with tracing.span("plan", attributes={"k8s.node.name": node.name}):
                plan = policy.plan_for(event, node, policy=self._policy, now=self._clock())
                self._announce(plan, plans)
                tracing.describe({"queue_processor.action": plan.action.value})
            return plan

        report = await self._executor.carry_out_on_nodes_of(instance_id, plan_for)
        while report.result is InstanceResult.NODE_GONE and not event.is_cancelled:
            # The instance may have registered again, and the watch may be silently dead.
            await self._node_refresh.refresh()
            if not self._node_index.nodes_of(instance_id):
                break
            report = await self._executor.carry_out_on_nodes_of(instance_id, plan_for)
        return report

    async def _await_return(self, instance_id: InstanceId) -> None:
        """Wait for the node of an instance that runs again, if it is marked, to be Ready."""
        await self._node_index.until(
            instance_id,
            lambda _: all(
                node.is_ready or not node.is_marked
                for node in self._node_index.nodes_of(instance_id)
            ),
            limit=_LONGEST_RETURN,
        )

    def _announce(self, plan: Plan, plans: list[Plan]) -> None:
        plans.append(plan)
        _log.info("plan", **log_fields.of_plan(plan))

    async def _has_joined(self, event: InterruptionEvent, instance_id: InstanceId) -> bool:
        """Return True if the instance is a node; one that is not in the index may be joining."""
        grace = self._policy.join_timeout(event)
        if grace and not self._node_index.nodes_of(instance_id):
            _log.info("node_awaited", instance_id=instance_id, seconds=grace.total_seconds())
        node = await self._node_index.until(instance_id, lambda node: node is not None, limit=grace)
        if node is not None or event.is_cancelled:
            return node is not None
        # The watch may be silently dead, and absence needs proof.
        await self._node_refresh.refresh()
        return bool(self._node_index.nodes_of(instance_id))

    async def _is_managed(self, instance_id: InstanceId) -> bool:
        return self._managed is None or await self._managed.is_managed(instance_id)

    async def _await_ready(self, event: InterruptionEvent, plan: Plan) -> InstanceReport:
        node = await self._node_index.until(
            plan.instance_id,
            lambda node: node is not None,
            limit=min(deadlines.joins_by(event), plan.deadline.at) - self._clock(),
        )
        if node is not None:
            node = await self._node_index.until(
                plan.instance_id,
                lambda node: node is not None and node.is_ready,
                limit=plan.deadline.at - self._clock(),
            )
        is_ready = node is not None and node.is_ready
        return InstanceReport(
            instance_id=plan.instance_id,
            node_name=None if node is None else node.name,
            result=InstanceResult.READY if is_ready else InstanceResult.NEVER_READY,
        )


def _failed(error: Exception, delivery: ports.Delivery) -> Outcome:
    receive_count = delivery.receive_count
    if isinstance(error, errors.TemporaryError | errors.PermanentError):
        return policy.retry(str(error), receive_count=receive_count)
    # A defect of ours must cost this one message some time, not all the others.
    _log.error("message_failed", exc_info=error)
    return policy.retry(f"a defect: {error!r}", receive_count=receive_count)


def _unhandled(event: InterruptionEvent, outcome: Outcome) -> Processed:
    """Return the result for an event before anything has been done about its instances."""
    instances = tuple(HandledInstance(instance_id=each) for each in event.instance_ids)
    return Processed(outcome=outcome, event=event, instances=instances)
