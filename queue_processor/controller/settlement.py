"""What becomes of a message, done: the lifecycle action first, the deletion last."""

import datetime as dt
from collections.abc import Callable
from typing import assert_never

import structlog
import tenacity

from queue_processor.controller import ports
from queue_processor.controller.keepalive import Holding
from queue_processor.domain import errors, policy
from queue_processor.domain.events import LifecycleAction
from queue_processor.domain.plan import Outcome, OutcomeKind
from queue_processor.observability import metrics
from queue_processor.retrying import retrying

_log = structlog.get_logger(__name__)

_LONGEST_DELAY = dt.timedelta(seconds=30)
_REFUSED_OR_FAILED = (errors.TemporaryError, errors.PermanentError)


class Settler:
    """Carries an outcome out, again and again until it holds."""

    def __init__(
        self,
        *,
        queue: ports.MessageQueue,
        lifecycle: ports.LifecycleActions,
        is_stopping: Callable[[], bool],
    ) -> None:
        """Build the settler.

        Args:
            queue: Where messages are deleted, hidden and dead-lettered.
            lifecycle: Where lifecycle actions are completed.
            is_stopping: Whether the process stops: a failing call is then not repeated,
                and the message goes back to the queue for the next process.
        """
        self._queue = queue
        self._lifecycle = lifecycle
        self._is_stopping = is_stopping

    async def settle(self, holding: Holding, outcome: Outcome) -> None:
        """Bring the message to its end, or back to the queue."""
        try:
            await self._carry_out(holding, outcome)
        except errors.StaleReceiptHandle as lost:
            self._tell_not_settled(holding, lost)
        except _REFUSED_OR_FAILED as error:
            self._tell_not_settled(holding, error)
            await self._give_back(holding, error)

    def _tell_not_settled(self, holding: Holding, error: Exception) -> None:
        metrics.MESSAGES_NOT_SETTLED.inc()
        _log.warning("message_not_settled", message_id=holding.message.message_id, error=str(error))

    async def _carry_out(self, holding: Holding, outcome: Outcome) -> None:
        match outcome.kind:
            case OutcomeKind.DONE | OutcomeKind.IGNORED:
                if outcome.completes is not None:
                    await self._complete(holding, outcome.completes)
                await self._delete(holding)
            case OutcomeKind.RETRY:
                await self._queue.hide(holding.message.receipt_handle, outcome.visible_after)
            case OutcomeKind.DEAD_LETTER:
                await self._dead_letter(holding, outcome.reason)
                await self._delete(holding)
            case _:
                assert_never(outcome.kind)

    def _insisting(
        self,
        call: metrics.Call,
        holding: Holding,
        *,
        on: tuple[type[Exception], ...] = _REFUSED_OR_FAILED,
    ) -> tenacity.AsyncRetrying:
        """Repeat a call for as long as the message is ours and the process goes on."""
        return retrying(
            call,
            stop_when=lambda: self._is_stopping() or holding.is_lost,
            longest_delay=_LONGEST_DELAY,
            on=on,
        )

    async def _complete(self, holding: Holding, action: LifecycleAction) -> None:
        async for attempt in self._insisting(metrics.Call.COMPLETE_LIFECYCLE_ACTION, holding):
            with attempt:
                await self._lifecycle.complete(action)
        if holding.event is not None:
            metrics.LIFECYCLE_ACTIONS_COMPLETED.labels(kind=holding.event.kind).inc()

    async def _delete(self, holding: Holding) -> None:
        """Delete with the newest handle; one that came in the meantime is used as well."""
        deleted = None
        async for attempt in self._insisting(metrics.Call.DELETE_MESSAGE, holding):
            with attempt:
                while deleted != (handle := holding.message.receipt_handle):
                    await self._queue.delete(handle)
                    deleted = handle

    async def _dead_letter(self, holding: Holding, reason: str) -> None:
        """Copy the message to the dead-letter queue.

        A refusal is not repeated: the message goes back, and the queue's own redrive
        policy moves it in the end.
        """
        async for attempt in self._insisting(
            metrics.Call.DEAD_LETTER_MESSAGE, holding, on=(errors.TemporaryError,)
        ):
            with attempt:
                if not await self._queue.dead_letter(holding.message, reason):
                    _log.error(
                        "message_malformed_and_no_dead_letter_queue",
                        message_id=holding.message.message_id,
                        reason=reason,
                        body=holding.message.body,
                    )

    async def _give_back(self, holding: Holding, error: Exception) -> None:
        later = policy.retry(str(error), receive_count=holding.message.receive_count)
        visible_after = dt.timedelta() if self._is_stopping() else later.visible_after
        try:
            await self._queue.hide(holding.message.receipt_handle, visible_after)
        except (errors.StaleReceiptHandle, *_REFUSED_OR_FAILED) as second_fault:
            # The visibility timeout gives the message back, a little later.
            _log.info(
                "message_not_released",
                message_id=holding.message.message_id,
                error=str(second_fault),
            )
