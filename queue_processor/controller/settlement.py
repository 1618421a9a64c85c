"""Carries out a message's outcome: the lifecycle action first, the acknowledgement last."""

import datetime as dt
from collections.abc import Callable
from typing import assert_never

import structlog
import tenacity

from queue_processor.controller import ports
from queue_processor.domain import errors, policy
from queue_processor.domain.events import EventKind, LifecycleAction
from queue_processor.domain.plan import OutcomeKind, Processed
from queue_processor.observability import metrics, tracing
from queue_processor.retrying import retrying

_log = structlog.get_logger(__name__)

_LONGEST_DELAY = dt.timedelta(seconds=30)
_REFUSED_OR_FAILED = (errors.TemporaryError, errors.PermanentError)


class Settler:
    """Carries out an outcome, and repeats what fails until it holds."""

    def __init__(
        self, *, lifecycle: ports.LifecycleActions, is_stopping: Callable[[], bool]
    ) -> None:
        """Build the settler.

        Args:
            lifecycle: Where lifecycle actions are completed.
            is_stopping: True once the process stops: a failing call is then not repeated,
                and the message goes back to its source for the next process.
        """
        self._lifecycle = lifecycle
        self._is_stopping = is_stopping

    async def settle(self, delivery: ports.Delivery, processed: Processed) -> None:
        """Bring a message to its end, or back to its source."""
        try:
            await self._carry_out(delivery, processed)
        except errors.DeliveryLost as lost:
            _report_not_settled(delivery, lost)
        except _REFUSED_OR_FAILED as error:
            _report_not_settled(delivery, error)
            await self._release(delivery, error)

    async def _carry_out(self, delivery: ports.Delivery, processed: Processed) -> None:
        outcome = processed.outcome
        match outcome.kind:
            case OutcomeKind.DONE | OutcomeKind.IGNORED:
                if outcome.completes is not None:
                    await self._complete(delivery, outcome.completes, processed.kind)
                if outcome.leaves is not None:
                    _report_left(outcome.leaves, outcome.reason)
                await self._acknowledge(delivery)
            case OutcomeKind.OBSERVED:
                await self._acknowledge(delivery)
            case OutcomeKind.RETRY:
                await delivery.release(outcome.visible_after)
            case OutcomeKind.DEAD_LETTER:
                await self._reject(delivery, outcome.reason)
                await self._acknowledge(delivery)
            case _:
                assert_never(outcome.kind)

    def _insisting(
        self,
        call: metrics.Call,
        delivery: ports.Delivery,
        *,
        on: tuple[type[Exception], ...] = _REFUSED_OR_FAILED,
    ) -> tenacity.AsyncRetrying:
        """Repeat a call for as long as the message is ours and the process goes on."""
        return retrying(
            call,
            stop_when=lambda: self._is_stopping() or delivery.is_lost,
            longest_delay=_LONGEST_DELAY,
            on=on,
        )

    async def _complete(
        self, delivery: ports.Delivery, action: LifecycleAction, kind: EventKind | None
    ) -> None:
        with tracing.span("complete", attributes={"queue_processor.hook": action.hook.name}):
            async for attempt in self._insisting(metrics.Call.COMPLETE_LIFECYCLE_ACTION, delivery):
                with attempt:
                    await self._lifecycle.complete(action)
        if kind is not None:
            metrics.LIFECYCLE_ACTIONS_COMPLETED.labels(kind=kind).inc()

    async def _acknowledge(self, delivery: ports.Delivery) -> None:
        with tracing.span("acknowledge"):
            async for attempt in self._insisting(metrics.Call.DELETE_MESSAGE, delivery):
                with attempt:
                    await delivery.acknowledge()

    async def _reject(self, delivery: ports.Delivery, reason: str) -> None:
        """Copy the message to where people find it.

        A refusal is not repeated: the message goes back, and SQS moves it by itself in the end,
        as the queue's redrive policy demands.
        """
        async for attempt in self._insisting(
            metrics.Call.DEAD_LETTER_MESSAGE, delivery, on=(errors.TemporaryError,)
        ):
            with attempt:
                await delivery.reject(reason)

    async def _release(self, delivery: ports.Delivery, error: Exception) -> None:
        later = policy.retry(str(error), receive_count=delivery.receive_count)
        visible_after = dt.timedelta() if self._is_stopping() else later.visible_after
        try:
            await delivery.release(visible_after)
        except (errors.DeliveryLost, *_REFUSED_OR_FAILED) as second_error:
            # The source takes the message back by itself, a little later.
            _log.info("message_not_released", message_id=delivery.id, error=str(second_error))


def _report_left(action: LifecycleAction, reason: str) -> None:
    metrics.LIFECYCLE_ACTIONS_LEFT.inc()
    _log.warning(
        "lifecycle_action_left",
        group=action.hook.group,
        hook=action.hook.name,
        instance_id=action.instance_id,
        reason=reason,
    )


def _report_not_settled(delivery: ports.Delivery, error: Exception) -> None:
    metrics.MESSAGES_NOT_SETTLED.inc()
    _log.warning("message_not_settled", message_id=delivery.id, error=str(error))
