"""Message move tasks: SQS itself empties a dead-letter queue into another queue.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
"""

import dataclasses
import enum
from typing import TYPE_CHECKING

from queue_processor.adapters.aws import grants
from queue_processor.domain import errors

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

FASTEST_A_SECOND = 500


class MoveStatus(enum.StrEnum):
    """How a task goes, in the words of SQS."""

    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MoveTask:
    """A task; its counts are approximate.

    Attributes:
        handle: What it is cancelled by; None unless it is running.
        moved: How many messages have been moved.
        to_move: How many there were when it began.
        failure: Why it failed; None where it did not.
    """

    status: MoveStatus
    handle: str | None
    moved: int
    to_move: int
    failure: str | None

    @property
    def is_active(self) -> bool:
        """Whether it moves messages yet; a queue has one such task at a time."""
        return self.status in {MoveStatus.RUNNING, MoveStatus.CANCELLING}


class MoveTasks:
    """The tasks of one dead-letter queue.

    Every method raises PermanentError with the permission that is missing, or TemporaryError.
    """

    def __init__(self, client: "SQSClient", *, arn: str, name: str) -> None:
        self._client = client
        self._arn = arn
        self._name = name

    def start(self, *, target_arn: str, a_second: int | None) -> None:
        """Begin to move everything to another queue.

        Args:
            target_arn: The queue. SQS knows by itself where it took a dead letter from, but not
                where the operator did.
            a_second: How many messages a second, up to 500; None leaves that to SQS.
        """
        pace = {} if a_second is None else {"MaxNumberOfMessagesPerSecond": a_second}
        with grants.asked("sqs:StartMessageMoveTask", self._name):
            self._client.start_message_move_task(
                SourceArn=self._arn, DestinationArn=target_arn, **pace
            )

    def latest(self) -> MoveTask | None:
        """The task that began last; None where there was none lately."""
        with grants.asked("sqs:ListMessageMoveTasks", self._name):
            found = self._client.list_message_move_tasks(SourceArn=self._arn)["Results"]
            return next(
                (
                    MoveTask(
                        status=MoveStatus(task["Status"]),
                        handle=task.get("TaskHandle"),
                        moved=task.get("ApproximateNumberOfMessagesMoved", 0),
                        to_move=task.get("ApproximateNumberOfMessagesToMove", 0),
                        failure=task.get("FailureReason"),
                    )
                    for task in found
                ),
                None,
            )

    def cancel(self, handle: str) -> None:
        """End a task; a no-op where it has ended by itself."""
        try:
            with grants.asked("sqs:CancelMessageMoveTask", self._name):
                self._client.cancel_message_move_task(TaskHandle=handle)
        except errors.PermanentError:
            task = self.latest()
            if task is not None and task.handle == handle:
                raise
