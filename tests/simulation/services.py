"""The AWS services of a simulated world, whose effects the oracle sees."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import botocore.exceptions

from queue_processor.controller import ports
from queue_processor.domain import aws_events
from queue_processor.domain.events import LifecycleAction
from queue_processor.simulator.aws import events
from tests.fakes.autoscaling import HOOK, FakeLifecycle
from tests.fakes.sqs import FakeQueue
from tests.simulation.oracle import Oracle
from tests.simulation.port_faults import PortFaults
from tests.simulation.scenario import Choices, FaultKind, Sending, Signal

HEARTBEAT_TIMEOUT = 120.0
# Longer than a deletion waits for company, and is repeated.
_STALE_SECONDS = 6.0


class SimulatedGroups(FakeLifecycle):
    """Lifecycle actions whose completion the oracle sees."""

    def __init__(self, *, clock: ports.Clock, oracle: Oracle) -> None:
        super().__init__(clock=clock, heartbeat_timeout=HEARTBEAT_TIMEOUT)
        self._oracle = oracle

    async def complete(self, action: LifecycleAction) -> None:
        await super().complete(action)
        self._oracle.on_completion(action.instance_id, action.transition)


class SimulatedMessages(FakeQueue):
    """A queue whose calls go wrong, and whose effects the oracle sees."""

    def __init__(self, *, clock: ports.Clock, choices: Choices, faults: PortFaults) -> None:
        super().__init__(clock=clock, visibility_timeout=choices.visibility)
        self.oracle: Oracle | None = None
        self._faults = faults
        self._received: dict[str, dict[str, float]] = {}
        self.set_receives(choices.receives)

    def answer(
        self, action: str, parameters: Mapping[str, Any], call: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        fault = self._faults.take(f"SQS.{action}")
        if fault is not None and fault.kind is FaultKind.ERROR:
            raise botocore.exceptions.EndpointConnectionError(endpoint_url="injected")
        if action == "DeleteMessageBatch":
            self._look_at_handles(parameters)
        try:
            answer = call()
        finally:
            if self.oracle is not None and action != "ChangeMessageVisibilityBatch":
                self.oracle.look_at_messages()
        if fault is not None:
            raise botocore.exceptions.ReadTimeoutError(endpoint_url="injected")
        now = asyncio.get_running_loop().time()
        for message in answer.get("Messages", ()) if action == "ReceiveMessage" else ():
            received = self._received.setdefault(message["MessageId"], {})
            received[message["ReceiptHandle"]] = now
        return answer

    def _look_at_handles(self, parameters: Mapping[str, Any]) -> None:
        """Find a deletion with an older receipt than the program has had for a while."""
        latest = asyncio.get_running_loop().time() - _STALE_SECONDS
        handles = {entry["ReceiptHandle"] for entry in parameters["Entries"]}
        for message_id, received in self._received.items():
            used = [at for handle, at in received.items() if handle in handles]
            newest = max(received.values())
            if used and max(used) < newest < latest and self.oracle is not None:
                self.oracle.on_stale_deletion(message_id)


def body_of(
    sending: Sending, ids: Sequence[str], *, origin: aws_events.Origin, zero: dt.datetime
) -> str | aws_events.Event:
    """Return the body of a message, as AWS prints it.

    Args:
        sending: The message.
        ids: Of the instances that it names.
        origin: Where and when its event happened.
        zero: When the world began.
    """
    step = events.new_step(group=HOOK.group, hook=HOOK.name, token=f"token-{sending.key}")
    if sending.signal is Signal.MALFORMED:
        return '{"detail-type": 1}'
    if sending.signal is Signal.FOREIGN:
        origin = dataclasses.replace(origin, account="999999999999")
    if sending.signal.is_change:
        change = aws_events.ScheduledChange(
            zero + dt.timedelta(seconds=sending.starts_at),
            f"arn:aws:health:us-east-1::event/{sending.change}",
            status="closed" if sending.signal is Signal.CHANGE_CLOSED else "upcoming",
            resolved=frozenset(ids[:1] if sending.signal is Signal.CHANGE_RESOLVED else ()),
        )
        return aws_events.scheduled_change(ids, change, origin=origin)
    makers: dict[Signal, Callable[[], aws_events.Event]] = {
        Signal.SPOT: lambda: aws_events.spot_interruption(ids[0], origin=origin),
        Signal.FOREIGN: lambda: aws_events.spot_interruption(ids[0], origin=origin),
        Signal.CAPACITY: lambda: aws_events.capacity_reservation_interruption(
            ids[0], origin=origin
        ),
        Signal.REBALANCE: lambda: aws_events.rebalance_recommendation(ids[0], origin=origin),
        Signal.TERMINATION: lambda: aws_events.autoscaling_termination(ids[0], step, origin=origin),
        Signal.LAUNCH: lambda: aws_events.autoscaling_launch(ids[0], step, origin=origin),
        Signal.IRRELEVANT: lambda: aws_events.state_change(ids[0], "pending", origin=origin),
    }
    if sending.signal in makers:
        return makers[sending.signal]()
    return aws_events.state_change(ids[0], sending.signal.value, origin=origin)
