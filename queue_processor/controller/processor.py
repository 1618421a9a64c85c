"""The story of one message: parse → plan → execute → outcome."""

import asyncio
import datetime as dt

import structlog

from queue_processor.controller import log_fields, ports
from queue_processor.controller.drain_coordinator import DrainCoordinator
from queue_processor.controller.keepalive import Holding, Keepalive
from queue_processor.controller.node_index import NodeIndex
from queue_processor.domain import deadlines, errors, events, parsing, policy
from queue_processor.domain.events import InterruptionEvent
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.plan import Action, InstanceReport, InstanceResult, Outcome, Plan
from queue_processor.domain.policy import Policy
from queue_processor.observability import metrics

_log = structlog.get_logger(__name__)


class Processor:
    """Turns messages into outcomes."""

    def __init__(
        self,
        *,
        node_index: NodeIndex,
        workers: DrainCoordinator,
        keepalive: Keepalive,
        managed: ports.ManagedInstances | None,
        decisions: Policy,
        clock: ports.Clock,
    ) -> None:
        """Build the processor.

        Args:
            node_index: Finds nodes.
            workers: Do the work on them.
            keepalive: Keeps lifecycle actions alive.
            managed: Narrows down which instances are ours; None: all nodes are.
            decisions: What the operator's owner decided.
            clock: The present.
        """
        self._node_index = node_index
        self._workers = workers
        self._keepalive = keepalive
        self._managed = managed
        self._policy = decisions
        self._clock = clock

    async def process(self, holding: Holding) -> Outcome:
        """Carry one message from receipt to its outcome.

        Raises:
            TemporaryError: An API failed for longer than was worth waiting.
            PermanentError: An API refuses us.
        """
        message = holding.message
        try:
            event = parsing.parse(
                message.body,
                message_id=message.message_id,
                sent_at=message.sent_at or self._clock(),
            )
        except errors.MalformedMessage as error:
            return policy.dead_letter(error)
        holding.event_id = event.event_id
        if isinstance(event, events.Ignored):
            return policy.ignored(event.reason)
        holding.event = event
        structlog.contextvars.bind_contextvars(event_id=event.event_id, kind=event.kind.value)
        age = (self._clock() - event.occurred_at).total_seconds()
        metrics.EVENT_AGE.labels(kind=event.kind).observe(max(age, 0.0))
        if (reason := self._policy.ignore_reason(event)) is not None:
            return policy.ignored(reason)
        if event.lifecycle_action is not None:
            self._keepalive.beat(holding, event.lifecycle_action, since=event.occurred_at)
        reports = await self._handle_instances(holding, event)
        return policy.outcome_of(
            event, reports, policy=self._policy, receive_count=message.receive_count
        )

    async def _handle_instances(
        self, holding: Holding, event: InterruptionEvent
    ) -> list[InstanceReport]:
        """Handle every instance; one that fails does not stop the others."""
        results = await asyncio.gather(
            *(self._handle(holding, event, instance_id) for instance_id in event.instance_ids),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if not isinstance(result, BaseException)]

    async def _handle(
        self, holding: Holding, event: InterruptionEvent, instance_id: InstanceId
    ) -> InstanceReport:
        heartbeat_timeout = deadlines.DEFAULT_HEARTBEAT_TIMEOUT
        if event.lifecycle_action is not None:
            hook = event.lifecycle_action.hook
            heartbeat_timeout = await self._keepalive.heartbeat_timeout(hook)
        is_awaited = self._policy.action_for(event) is Action.AWAIT_READY
        act = self._await_ready if is_awaited else self._act_on_node
        report = await act(holding, event, instance_id, heartbeat_timeout)
        metrics.INSTANCES.labels(kind=event.kind, result=report.result).inc()
        holding.reports[instance_id] = report
        return report

    async def _act_on_node(
        self,
        holding: Holding,
        event: InterruptionEvent,
        instance_id: InstanceId,
        heartbeat_timeout: dt.timedelta,
    ) -> InstanceReport:
        node = await self._until_joined(event, instance_id)
        if node is None:
            return InstanceReport(instance_id=instance_id, result=InstanceResult.UNKNOWN_INSTANCE)
        if not await self._is_managed(instance_id):
            return InstanceReport(
                instance_id=instance_id, result=InstanceResult.NOT_MANAGED, node_name=node.name
            )
        plan = policy.plan_for(
            event,
            node,
            policy=self._policy,
            now=self._clock(),
            heartbeat_timeout=heartbeat_timeout,
        )
        _tell_plan(holding, plan)
        return await self._workers.carry_out(plan, node)

    async def _until_joined(
        self, event: InterruptionEvent, instance_id: InstanceId
    ) -> NodeView | None:
        """The instance's node; one that is not in the index may be joining right now."""
        grace = self._policy.join_timeout(event)
        if grace and self._node_index.find(instance_id) is None:
            _log.info("node_awaited", instance_id=instance_id, seconds=grace.total_seconds())
        return await self._node_index.until(
            instance_id, lambda found: found is not None, limit=grace
        )

    async def _is_managed(self, instance_id: InstanceId) -> bool:
        return self._managed is None or await self._managed.is_managed(instance_id)

    async def _await_ready(
        self,
        holding: Holding,
        event: InterruptionEvent,
        instance_id: InstanceId,
        heartbeat_timeout: dt.timedelta,
    ) -> InstanceReport:
        if not await self._is_managed(instance_id):
            return InstanceReport(instance_id=instance_id, result=InstanceResult.NOT_MANAGED)
        plan = policy.plan_without_node(
            event,
            instance_id,
            policy=self._policy,
            now=self._clock(),
            heartbeat_timeout=heartbeat_timeout,
        )
        _tell_plan(holding, plan)
        node = await self._node_index.until(
            instance_id,
            lambda found: found is not None and found.is_ready,
            limit=plan.deadline.at - self._clock(),
        )
        is_ready = node is not None and node.is_ready
        return InstanceReport(
            instance_id=instance_id,
            node_name=None if node is None else node.name,
            result=InstanceResult.READY if is_ready else InstanceResult.NEVER_READY,
        )


def _tell_plan(holding: Holding, plan: Plan) -> None:
    holding.plans[plan.instance_id] = plan
    _log.info("plan", **log_fields.of_plan(plan))
