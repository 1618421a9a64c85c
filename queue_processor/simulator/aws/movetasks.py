"""Message move tasks, which moto lacks: a dead-letter queue is emptied into another queue.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/troubleshooting-dlq-redrive.html
"""

import contextlib
import dataclasses
import enum
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from moto.core import responses as core_responses
from moto.sqs import exceptions, models, responses

from queue_processor.simulator.aws import patches, queues, sqs

_FASTEST = 500
_MOST_RESULTS = 10
_RUNNING_ALREADY = (
    "There is already a task running. Only one active task is allowed for a source queue arn at a"
    " given time."
)


class Status(enum.Enum):
    """How far a task is."""

    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"

    @property
    def is_active(self) -> bool:
        """Whether no other task may begin."""
        return self in {Status.RUNNING, Status.CANCELLING}


@dataclasses.dataclass
class MoveTask:
    """One task.

    Attributes:
        destination_arn: None: each message goes back to the queue it came from.
        rate: How many a second; None: SQS decides.
        to_move: How many were there at the start.
    """

    source_arn: str
    destination_arn: str | None
    rate: int | None
    to_move: int
    handle: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    started_at: float = dataclasses.field(default_factory=time.time)
    status: Status = Status.RUNNING
    moved: int = 0
    failure: str | None = None

    def entry(self) -> dict[str, Any]:
        """The task as ListMessageMoveTasks tells of it."""
        told = {
            "TaskHandle": self.handle if self.status is Status.RUNNING else None,
            "Status": self.status.value,
            "SourceArn": self.source_arn,
            "DestinationArn": self.destination_arn,
            "MaxNumberOfMessagesPerSecond": self.rate,
            "ApproximateNumberOfMessagesMoved": self.moved,
            "ApproximateNumberOfMessagesToMove": self.to_move,
            "FailureReason": self.failure,
            "StartedTimestamp": int(self.started_at * 1000),
        }
        return {name: value for name, value in told.items() if value is not None}


class MoveTasks:
    """The tasks of an account, each in a thread of its own while it is active."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tasks: list[MoveTask] = []
        self._threads: list[threading.Thread] = []

    def clear(self) -> None:
        """End and forget every task."""
        with self._changed:
            for task in self._tasks:
                self._end(task, Status.CANCELLED)
            self._tasks.clear()
            threads, self._threads = self._threads, []
        for thread in threads:
            thread.join()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Let moto's SQS answer for move tasks.

        Raises:
            MotoChangedError: when moto has them by now.
        """

        def start(response: responses.SQSResponse) -> core_responses.ActionResult:
            return core_responses.ActionResult({"TaskHandle": self._start(response)})

        def cancel(response: responses.SQSResponse) -> core_responses.ActionResult:
            moved = self._cancel(response._get_param("TaskHandle"))  # noqa: SLF001 as moto's own do
            return core_responses.ActionResult({"ApproximateNumberOfMessagesMoved": moved})

        def tasks(response: responses.SQSResponse) -> core_responses.ActionResult:
            return core_responses.ActionResult({"Results": self._list(response)})

        answers = responses.SQSResponse
        with (
            patches.added(answers, "start_message_move_task", start),
            patches.added(answers, "cancel_message_move_task", cancel),
            patches.added(answers, "list_message_move_tasks", tasks),
        ):
            yield

    # The calls of AWS.

    def _start(self, response: responses.SQSResponse) -> str:
        backend = _backend(response)
        task = MoveTask(
            source_arn=response._get_param("SourceArn"),  # noqa: SLF001 as moto's own do
            destination_arn=response._get_param("DestinationArn"),  # noqa: SLF001 the same
            rate=response._get_param("MaxNumberOfMessagesPerSecond"),  # noqa: SLF001 the same
            to_move=0,
        )
        source = _named(backend, task.source_arn, "SourceArn")
        if task.destination_arn is not None:
            _named(backend, task.destination_arn, "DestinationArn")
        if not any(queue.dead_letter_queue is source for queue in backend.queues.values()):
            raise exceptions.InvalidParameterValue(
                "Source queue must be configured as a Dead Letter Queue."
            )
        if task.rate is not None and not 1 <= task.rate <= _FASTEST:
            raise exceptions.InvalidParameterValue(
                f"Value {task.rate} for parameter MaxNumberOfMessagesPerSecond is invalid. Reason:"
                f" Must be between 1 and {_FASTEST}, if provided."
            )
        task.to_move = source.state().visible
        with self._changed:
            if any(other.status.is_active for other in self._of(task.source_arn)):
                raise exceptions.InvalidParameterValue(_RUNNING_ALREADY)
            self._tasks.append(task)
            thread = threading.Thread(target=self._run, args=(task, backend, source), daemon=True)
            self._threads.append(thread)
        thread.start()
        return task.handle

    def _cancel(self, handle: str) -> int:
        with self._changed:
            for task in self._tasks:
                if task.handle == handle and task.status is Status.RUNNING:
                    task.status = Status.CANCELLING
                    self._changed.notify_all()
                    return task.moved
        raise exceptions.SQSException("ResourceNotFoundException", "Task does not exist.")

    def _list(self, response: responses.SQSResponse) -> list[dict[str, Any]]:
        source_arn = response._get_param("SourceArn")  # noqa: SLF001 as moto's own do
        most = response._get_param("MaxResults") or 1  # noqa: SLF001 the same
        _named(_backend(response), source_arn, "SourceArn")
        if not 1 <= most <= _MOST_RESULTS:
            raise exceptions.InvalidParameterValue(
                f"Value {most} for parameter MaxResults is invalid. Reason: Must be between 1 and"
                f" {_MOST_RESULTS}, if provided."
            )
        with self._changed:
            return [task.entry() for task in reversed(self._of(source_arn))][:most]

    def _of(self, source_arn: str) -> list[MoveTask]:
        return [task for task in self._tasks if task.source_arn == source_arn]

    # What happens in the thread of a task.

    def _run(self, task: MoveTask, backend: sqs.StrictBackend, source: queues.StrictQueue) -> None:
        pause = 1 / (task.rate or _FASTEST)
        while self._goes_on(task, pause):
            message = source.hand_over()
            if message is None:
                self._finish(task, Status.COMPLETED)
                return
            failure = _move(message, backend, task.destination_arn or queues.source_of(message))
            if failure is not None:
                source.add_message(message)
                task.failure = failure
                self._finish(task, Status.FAILED)
                return
            with self._changed:
                task.moved += 1
        self._finish(task, Status.CANCELLED)

    def _goes_on(self, task: MoveTask, pause: float) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: task.status is not Status.RUNNING, timeout=pause)
            return task.status is Status.RUNNING

    def _finish(self, task: MoveTask, status: Status) -> None:
        with self._changed:
            self._end(task, status)

    def _end(self, task: MoveTask, status: Status) -> None:
        if task.status.is_active:
            task.status = status
        self._changed.notify_all()


def _move(
    message: models.Message, backend: sqs.StrictBackend, target_arn: str | None
) -> str | None:
    """Send the message to its new queue; why that does not work, or None."""
    if target_arn is None:
        return "CouldNotDetermineMessageSource"
    try:
        # It is a new message there: with an id and a time of its own, never received.
        backend.send_message(
            target_arn.rpartition(":")[2],
            message.body,
            message_attributes=message.message_attributes,
        )
    except exceptions.QueueDoesNotExist as missing:
        return missing.code
    return None


def _backend(response: responses.SQSResponse) -> sqs.StrictBackend:
    backend = response.sqs_backend
    if not isinstance(backend, sqs.StrictBackend):
        raise TypeError("The simulator does not run.")
    return backend


def _named(backend: sqs.StrictBackend, arn: str, parameter: str) -> queues.StrictQueue:
    try:
        return backend.strict_queue(arn.rpartition(":")[2])
    except exceptions.QueueDoesNotExist as missing:
        raise exceptions.SQSException(
            "ResourceNotFoundException",
            f"The resource that you specified for the {parameter} parameter doesn't exist.",
        ) from missing
