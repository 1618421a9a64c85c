"""The story of one message: parse → plan → execute → outcome."""

import asyncio
import dataclasses
import datetime as dt

import structlog

from queue_processor.controller import ports
from queue_processor.controller.directory import NodeDirectory
from queue_processor.controller.keepalive import Holding, Keepalive
from queue_processor.controller.worker import NodeWorkers
from queue_processor.domain import deadlines, errors, events, parsing, policy
from queue_processor.domain.events import InterruptionEvent
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.plan import Action, Ending, Outcome, Report
from queue_processor.domain.policy import Policy
from queue_processor.observability import metrics

_log = structlog.get_logger(__name__)


class Processor:
    """Turns messages into outcomes."""

    def __init__(
        self,
        *,
        directory: NodeDirectory,
        workers: NodeWorkers,
        keepalive: Keepalive,
        managed: ports.ManagedInstances | None,
        decisions: Policy,
        clock: ports.Clock,
    ) -> None:
        """Build the processor.

        Args:
            directory: Finds nodes.
            workers: Do the work on them.
            keepalive: Keeps lifecycle actions alive.
            managed: Narrows down which instances are ours; None: all nodes are.
            decisions: What the operator's owner decided.
            clock: The present.
        """
        self._directory = directory
        self._workers = workers
        self._keepalive = keepalive
        self._managed = managed
        self._policy = decisions
        self._clock = clock

    async def process(self, holding: Holding) -> Outcome:
        """Carry one message from receipt to its outcome.

        Raises:
            TemporaryFault: An API failed for longer than was worth waiting.
            PermanentFault: An API refuses us.
        """
        message = holding.message
        try:
            event = parsing.parse(
                message.body, message_id=message.message_id, sent_at=message.sent_at
            )
        except errors.MalformedMessage as fault:
            return policy.dead_letter(fault)
        if isinstance(event, events.Ignored):
            return policy.ignored(event.reason)
        holding.event = event
        structlog.contextvars.bind_contextvars(event_id=event.event_id, kind=event.kind.value)
        age = (self._clock() - event.occurred_at).total_seconds()
        metrics.EVENT_AGE.labels(kind=event.kind).observe(max(age, 0.0))
        if (reason := self._policy.dismissal(event)) is not None:
            return policy.ignored(reason)
        if event.lifecycle_action is not None:
            self._keepalive.beat(holding, event.lifecycle_action, since=event.occurred_at)
        reports = await self._handle_instances(event)
        return policy.outcome_of(
            event, reports, policy=self._policy, receive_count=message.receive_count
        )

    async def _handle_instances(self, event: InterruptionEvent) -> list[Report]:
        """Handle every instance; one that fails does not stop the others."""
        results = await asyncio.gather(
            *(self._handle(event, instance_id) for instance_id in event.instance_ids),
            return_exceptions=True,
        )
        reports = [result for result in results if not isinstance(result, BaseException)]
        for report in reports:
            metrics.INSTANCES.labels(kind=event.kind, ending=report.ending).inc()
            _log.info("instance_handled", **dataclasses.asdict(report))
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return reports

    async def _handle(self, event: InterruptionEvent, instance_id: InstanceId) -> Report:
        heartbeat_timeout = deadlines.DEFAULT_HEARTBEAT_TIMEOUT
        if event.lifecycle_action is not None:
            hook = event.lifecycle_action.hook
            heartbeat_timeout = await self._keepalive.heartbeat_timeout(hook)
        if self._policy.action_for(event) is Action.AWAIT_READY:
            return await self._await_ready(event, instance_id, heartbeat_timeout)
        return await self._act_on_node(event, instance_id, heartbeat_timeout)

    async def _act_on_node(
        self, event: InterruptionEvent, instance_id: InstanceId, heartbeat_timeout: dt.timedelta
    ) -> Report:
        node = await self._directory.until(
            instance_id,
            lambda found: found is not None,
            limit=self._policy.joining_grace(event),
        )
        if node is None:
            return Report(instance_id=instance_id, ending=Ending.UNKNOWN_INSTANCE)
        if not await self._is_managed(instance_id):
            return Report(instance_id=instance_id, ending=Ending.NOT_MANAGED, node_name=node.name)
        plan = policy.plan_for(
            event,
            node,
            policy=self._policy,
            now=self._clock(),
            heartbeat_timeout=heartbeat_timeout,
        )
        _log.info("plan", **dataclasses.asdict(plan))
        return await self._workers.carry_out(plan, node)

    async def _is_managed(self, instance_id: InstanceId) -> bool:
        return self._managed is None or await self._managed.is_managed(instance_id)

    async def _await_ready(
        self, event: InterruptionEvent, instance_id: InstanceId, heartbeat_timeout: dt.timedelta
    ) -> Report:
        if not await self._is_managed(instance_id):
            return Report(instance_id=instance_id, ending=Ending.NOT_MANAGED)
        deadline = deadlines.deadline_for(
            event,
            now=self._clock(),
            timeouts=self._policy.timeouts,
            heartbeat_timeout=heartbeat_timeout,
        )
        node = await self._directory.until(
            instance_id,
            lambda found: found is not None and found.is_ready,
            limit=deadline.at - self._clock(),
        )
        is_ready = node is not None and node.is_ready
        return Report(
            instance_id=instance_id,
            node_name=None if node is None else node.name,
            ending=Ending.READY if is_ready else Ending.NEVER_READY,
        )
