"""receive → bound → dispatch → stop: the loop of the process that leads."""

import asyncio
import datetime as dt

import structlog

from queue_processor.controller import log_fields, ports
from queue_processor.controller.keepalive import Holding, Keepalive
from queue_processor.controller.processor import Processor
from queue_processor.controller.retrying import Backoff
from queue_processor.controller.settlement import Settler
from queue_processor.domain import errors, policy
from queue_processor.domain.messages import ReceivedMessage
from queue_processor.domain.plan import Outcome
from queue_processor.observability import health, metrics

_log = structlog.get_logger(__name__)

_HAND_BACK_LIMIT = dt.timedelta(seconds=8)
_LONGEST_DELAY = dt.timedelta(seconds=10)
_SHORTEST_POLL_SECONDS = 0.2
_MEASURING_INTERVAL_SECONDS = 30.0
_BEAT = "consumer"


class Consumer:
    """Receives messages, and sees each of them through to its outcome."""

    def __init__(
        self,
        *,
        queue: ports.MessageQueue,
        lifecycle: ports.LifecycleActions,
        processor: Processor,
        keepalive: Keepalive,
        max_in_flight: int,
        liveness: health.Liveness,
    ) -> None:
        self._queue = queue
        self._processor = processor
        self._keepalive = keepalive
        self._settler = Settler(
            queue=queue, lifecycle=lifecycle, is_stopping=lambda: self._is_stopping
        )
        self._max_in_flight = max_in_flight
        self._liveness = liveness
        self._is_stopping = False
        self._has_room = asyncio.Event()
        self._processing: set[asyncio.Task[Outcome]] = set()
        self._carrying: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until cancelled, then hand back what is not done."""
        self._is_stopping = False
        self._has_room.set()
        metrics.OLDEST_MESSAGE.set_function(self._keepalive.oldest_age_seconds)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keepalive.run(), name="keepalive")
                group.create_task(self._receive_for_ever(), name="receive")
                group.create_task(self._measure_for_ever(), name="measure queue")
        finally:
            metrics.MESSAGES_WAITING.set(0)
            self._liveness.pause(_BEAT)
            await self._stop()

    async def _receive_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff(longest=_LONGEST_DELAY)
        failures = 0
        while True:
            if not self._has_room.is_set():
                # A full house may take hours to empty, and is no reason for a restart.
                self._liveness.pause(_BEAT)
                await self._has_room.wait()
            self._liveness.heartbeat(_BEAT)
            began_at = loop.time()
            try:
                received = await self._queue.receive()
            except (errors.TemporaryError, errors.PermanentError) as error:
                failures += 1
                metrics.RECEIVE_CALLS.labels(outcome=metrics.ReceiveOutcome.FAILED).inc()
                _log.warning("receive_failed", failures=failures, error=str(error))
                await asyncio.sleep(backoff.after(failures, error).total_seconds())
                continue
            failures = 0
            if not received and loop.time() - began_at < _SHORTEST_POLL_SECONDS:
                # A queue that answers "nothing" at once is not asked again at once.
                await asyncio.sleep(_SHORTEST_POLL_SECONDS)
            got = metrics.ReceiveOutcome.MESSAGES if received else metrics.ReceiveOutcome.EMPTY
            metrics.RECEIVE_CALLS.labels(outcome=got).inc()
            metrics.MESSAGES_RECEIVED.inc(len(received))
            for message in received:
                self._dispatch(message)

    async def _measure_for_ever(self) -> None:
        """Show how much waits in the queue: that nothing is received is no error by itself."""
        while True:
            try:
                metrics.MESSAGES_WAITING.set(await self._queue.count_waiting())
            except (errors.TemporaryError, errors.PermanentError) as error:
                _log.info("queue_depth_unavailable", error=str(error))
            await asyncio.sleep(_MEASURING_INTERVAL_SECONDS)

    def _dispatch(self, message: ReceivedMessage) -> None:
        holding = self._keepalive.hold(message)
        if holding is None:
            metrics.MESSAGES_RECEIVED_AGAIN.inc()
            _log.info(
                "message_received_again",
                message_id=message.message_id,
                receive_count=message.receive_count,
            )
            return
        carrying = asyncio.create_task(self._carry(holding), name=f"message {message.message_id}")
        self._carrying.add(carrying)
        carrying.add_done_callback(self._carrying.discard)
        if len(self._keepalive) >= self._max_in_flight:
            self._has_room.clear()

    async def _carry(self, holding: Holding) -> None:
        """See one message through; only the processing can be cancelled, not the settling."""
        structlog.contextvars.bind_contextvars(message_id=holding.message.message_id)
        started_at = asyncio.get_running_loop().time()
        processing = asyncio.create_task(
            self._processor.process(holding), name=f"process {holding.message.message_id}"
        )
        self._processing.add(processing)
        try:
            await asyncio.wait((processing,))
            outcome = self._outcome_of(processing, holding)
            await self._settler.settle(holding, outcome)
        finally:
            self._processing.discard(processing)
            await self._keepalive.let_go(holding)
            self._has_room.set()
        kind = metrics.NO_KIND if holding.event is None else holding.event.kind
        metrics.MESSAGES.labels(kind=kind, outcome=outcome.kind).inc()
        took = asyncio.get_running_loop().time() - started_at
        _log.info("outcome", **log_fields.of_outcome(holding, outcome), seconds=round(took, 3))

    def _outcome_of(self, processing: "asyncio.Task[Outcome]", holding: Holding) -> Outcome:
        receive_count = holding.message.receive_count
        if processing.cancelled():
            return policy.release("the process stops, or leads no more")
        error = processing.exception()
        match error:
            case None:
                return processing.result()
            case errors.TemporaryError() | errors.PermanentError():
                return policy.retry(str(error), receive_count=receive_count)
            case _:
                # A defect of ours must cost this one message some time, not all the others.
                _log.error("message_failed", exc_info=error)
                return policy.retry(f"a defect: {error!r}", receive_count=receive_count)

    async def _stop(self) -> None:
        """Stop all work at once and give its messages back to the queue."""
        self._is_stopping = True
        for processing in self._processing:
            processing.cancel()
        if not self._carrying:
            return
        _, late = await asyncio.wait(self._carrying, timeout=_HAND_BACK_LIMIT.total_seconds())
        for carrying in late:
            carrying.cancel()
        if late:
            _log.warning("messages_not_released", count=len(late))
            await asyncio.wait(late)
