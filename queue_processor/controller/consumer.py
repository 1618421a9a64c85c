"""receive → bound → dispatch → stop: the loop of the process that leads.

Every source has a receive loop of its own, because a long poll of one must not delay the events
of another. What they receive has one bound for all: a loop that finds as many messages in flight
as there may be waits for room before its next receive. Messages that nobody has received stay in
the source, where another process can have them and where their number can be seen, which a queue
in this process would offer to nobody.

Every message has two tasks. The inner one processes it, and can be cancelled at any time. The
outer one settles it, and cannot: a message whose work was cancelled still has to go back to its
source. One task would need a shield around each step of settling, and would still mix up who
cancelled what.

Stopping is therefore short: cancel every inner task, then wait for the outer ones, which release
their messages. Kubernetes kills the process after the grace period, so the wait has a limit; a
message that is not released in time comes back when the source misses us.
"""

import asyncio
import datetime as dt
import functools
from collections.abc import Sequence

import structlog

from queue_processor.controller import log_fields, ports, processor
from queue_processor.controller.lifecycle import LifecycleHeartbeats
from queue_processor.controller.processor import Processor
from queue_processor.controller.settlement import Settler
from queue_processor.domain import errors, policy
from queue_processor.domain.plan import Processed
from queue_processor.observability import health, metrics, tracing
from queue_processor.retrying import Backoff

_log = structlog.get_logger(__name__)

_RELEASE_LIMIT = dt.timedelta(seconds=8)
_LONGEST_DELAY = dt.timedelta(seconds=10)
_SHORTEST_POLL_SECONDS = 0.2
_MEASURING_INTERVAL_SECONDS = 30.0


class InFlightMessages:
    """The messages that are being worked on; with `limit` of them there is no room for more."""

    def __init__(self, *, limit: int, clock: ports.Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._messages: dict[str, ports.Delivery] = {}
        self._has_room = asyncio.Event()
        self._has_room.set()

    @property
    def has_room(self) -> bool:
        """True while one more message may be received."""
        return self._has_room.is_set()

    async def wait_for_room(self) -> None:
        """Return once there is room."""
        await self._has_room.wait()

    def add(self, delivery: ports.Delivery) -> None:
        """Count a message in, even where that exceeds the limit: it has been received."""
        self._messages[delivery.id] = delivery
        self._show()

    def remove(self, delivery: ports.Delivery) -> None:
        """Count a message out."""
        del self._messages[delivery.id]
        self._show()

    def _show(self) -> None:
        metrics.MESSAGES_IN_FLIGHT.set(len(self._messages))
        if len(self._messages) < self._limit:
            self._has_room.set()
        else:
            self._has_room.clear()

    def oldest_age_seconds(self) -> float:
        """Return how long ago the oldest message was sent; 0 without messages."""
        now = self._clock()
        ages = (now - delivery.sent_at for delivery in self._messages.values())
        return max(ages, default=dt.timedelta()).total_seconds()


class Consumer:
    """Receives messages, and brings each of them to its outcome."""

    def __init__(
        self,
        *,
        sources: Sequence[ports.EventSource],
        lifecycle: ports.LifecycleActions,
        processor: Processor,
        heartbeats: LifecycleHeartbeats,
        in_flight: InFlightMessages,
        liveness: health.Liveness,
    ) -> None:
        self._sources = sources
        self._processor = processor
        self._heartbeats = heartbeats
        self._settler = Settler(lifecycle=lifecycle, is_stopping=lambda: self._is_stopping)
        self._in_flight = in_flight
        self._liveness = liveness
        self._is_stopping = False
        self._processing: set[asyncio.Task[Processed]] = set()
        self._carrying: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until cancelled, then release what is not done."""
        self._is_stopping = False
        metrics.OLDEST_MESSAGE.set_function(self._in_flight.oldest_age_seconds)
        try:
            async with asyncio.TaskGroup() as group:
                for source in self._sources:
                    group.create_task(source.run(), name=f"keep messages of {source.name}")
                    group.create_task(
                        self._receive_for_ever(source), name=f"receive from {source.name}"
                    )
                group.create_task(self._measure_for_ever(), name="count waiting messages")
        finally:
            for source in self._sources:
                metrics.MESSAGES_WAITING.labels(source=source.name).set(0)
                self._liveness.pause(_loop_of(source))
            await self._stop()

    async def _receive_for_ever(self, source: ports.EventSource) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff(longest=_LONGEST_DELAY)
        count_call = functools.partial(metrics.RECEIVE_CALLS.labels, source=source.name)
        failures = 0
        while True:
            if not self._in_flight.has_room:
                # At capacity we may wait for hours. That must not fail the liveness probe.
                self._liveness.pause(_loop_of(source))
                await self._in_flight.wait_for_room()
            # A receive may fail slowly: a restart would not cure that, and end the drains.
            self._liveness.heartbeat(
                _loop_of(source),
                limit_seconds=source.longest_receive.total_seconds() + health.DEFAULT_LIMIT_SECONDS,
            )
            began_at = loop.time()
            try:
                received = await source.receive()
            except (errors.TemporaryError, errors.PermanentError) as error:
                failures += 1
                count_call(outcome=metrics.ReceiveOutcome.FAILED).inc()
                _log.warning("receive_failed", failures=failures, error=str(error))
                await asyncio.sleep(backoff.after(failures, error).total_seconds())
                continue
            failures = 0
            if not received and loop.time() - began_at < _SHORTEST_POLL_SECONDS:
                # A source that has nothing and does not wait gets no second call at once.
                await asyncio.sleep(_SHORTEST_POLL_SECONDS)
            outcome = metrics.ReceiveOutcome.MESSAGES if received else metrics.ReceiveOutcome.EMPTY
            count_call(outcome=outcome).inc()
            metrics.MESSAGES_RECEIVED.labels(source=source.name).inc(len(received))
            for delivery in received:
                self._dispatch(delivery)

    async def _measure_for_ever(self) -> None:
        """Show how much waits in the sources: that nothing is received is no error by itself."""
        while True:
            for source in self._sources:
                try:
                    waiting = await source.count_waiting()
                except (errors.TemporaryError, errors.PermanentError) as error:
                    _log.info("queue_depth_unavailable", source=source.name, error=str(error))
                else:
                    metrics.MESSAGES_WAITING.labels(source=source.name).set(waiting)
            await asyncio.sleep(_MEASURING_INTERVAL_SECONDS)

    def _dispatch(self, delivery: ports.Delivery) -> None:
        self._in_flight.add(delivery)
        carrying = asyncio.create_task(self._carry(delivery), name=f"message {delivery.id}")
        self._carrying.add(carrying)
        carrying.add_done_callback(self._carrying.discard)

    async def _carry(self, delivery: ports.Delivery) -> None:
        """Bring one message to its end."""
        structlog.contextvars.bind_contextvars(message_id=delivery.id)
        attributes = {"messaging.message.id": delivery.id}
        with tracing.span("message", since=delivery.sent_at, attributes=attributes):
            tracing.past_span("receive", since=delivery.sent_at)
            await self._process_and_settle(delivery)

    async def _process_and_settle(self, delivery: ports.Delivery) -> None:
        """Process and settle a message; only its processing can be cancelled."""
        started_at = asyncio.get_running_loop().time()
        processing = asyncio.create_task(
            self._processor.process(delivery), name=f"process {delivery.id}"
        )
        self._processing.add(processing)
        try:
            await asyncio.wait((processing,))
            # Only a task that never began can be cancelled: `process` returns when it is.
            processed = (
                Processed(outcome=policy.release(processor.STOPPED))
                if processing.cancelled()
                else processing.result()
            )
            await self._settler.settle(delivery, processed)
        finally:
            self._processing.discard(processing)
            delivery.close()
            self._in_flight.remove(delivery)
            await self._heartbeats.stop(delivery.id)
        metrics.MESSAGES.labels(
            kind=processed.kind or metrics.NO_KIND, outcome=processed.outcome.kind
        ).inc()
        tracing.describe({"queue_processor.outcome": processed.outcome.kind.value})
        took = asyncio.get_running_loop().time() - started_at
        _log.info("outcome", **log_fields.of_outcome(delivery, processed), seconds=round(took, 3))

    async def _stop(self) -> None:
        """Stop all work at once and release its messages."""
        self._is_stopping = True
        for processing in self._processing:
            processing.cancel()
        if not self._carrying:
            return
        _, late = await asyncio.wait(self._carrying, timeout=_RELEASE_LIMIT.total_seconds())
        for carrying in late:
            carrying.cancel()
        if late:
            _log.warning("messages_not_released", count=len(late))
            await asyncio.wait(late)


def _loop_of(source: ports.EventSource) -> str:
    return f"consumer of {source.name}"
