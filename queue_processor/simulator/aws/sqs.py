"""The queues of a region, in the place of moto's backend for SQS."""

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import flask
from moto.sqs import constants, exceptions, models, urls

from queue_processor.simulator.aws import patches, queues


class StrictBackend(models.SQSBackend):
    """The queues of one region, all of them strict."""

    @property
    def _url_module(self) -> ModuleType:
        # moto looks for it beside the module of the class.
        return urls

    def create_queue(
        self,
        name: str,
        tags: dict[str, str] | None = None,
        **kwargs: Any,  # noqa: ANN401 as moto has it
    ) -> models.Queue:
        """Create a strict queue, or return the one of that name, if it has the same attributes."""
        if name in self.queues:
            return super().create_queue(name, tags, **kwargs)
        kwargs.pop("region", None)
        queue = queues.StrictQueue(name, self.region_name, self.account_id, **kwargs)
        queue.tags = tags or {}
        self.queues[name] = queue
        return queue

    def delete_queue(self, queue_name: str) -> None:
        """Delete the queue and send away who waits for its messages."""
        self.strict_queue(queue_name).close()
        super().delete_queue(queue_name)

    def purge_queue(self, queue_name: str) -> None:
        """Delete the messages of the queue."""
        self.strict_queue(queue_name).purge()

    def receive_message(
        self,
        queue_name: str,
        count: int,
        wait_seconds_timeout: int,
        visibility_timeout: int,
        message_attribute_names: list[str] | None = None,
    ) -> list[models.Message]:
        """Receive, with the message attributes that were asked for."""
        taken = self.strict_queue(queue_name).receive(
            count,
            wait_seconds=wait_seconds_timeout,
            visibility_seconds=visibility_timeout,
            is_abandoned=_caller_is_gone(),
        )
        for message in taken:
            message.message_attributes = {
                name: value
                for name, value in message.message_attributes.items()
                if _is_wanted(name, message_attribute_names or [])
            }
        return taken

    def send_message_batch(
        self, queue_name: str, entries: dict[str, dict[str, Any]]
    ) -> tuple[list[models.Message], list[dict[str, Any]]]:
        """Send several; each succeeds or fails on its own, where moto fails them all."""
        size = sum(len(entry["MessageBody"].encode()) for entry in entries.values())
        if size > constants.MAXIMUM_MESSAGE_LENGTH:
            raise exceptions.BatchRequestTooLong(size)
        done: list[models.Message] = []
        failed: list[dict[str, Any]] = []
        for key, entry in entries.items():
            try:
                sent, refused = super().send_message_batch(queue_name, {key: entry})
            except exceptions.InvalidParameterValue as fault:
                failed.append(_failed_entry(entry["Id"], fault))
            else:
                done += sent
                failed += refused
        return done, failed

    def change_message_visibility(
        self, queue_name: str, receipt_handle: str, visibility_timeout: int
    ) -> None:
        """Hide a message for so many seconds from now on."""
        self.strict_queue(queue_name).change_visibility(receipt_handle, int(visibility_timeout))

    def change_message_visibility_batch(
        self, queue_name: str, entries: list[dict[str, Any]]
    ) -> tuple[list[str], list[dict[str, Any]]]:
        """Do it for several; each succeeds or fails on its own, where moto fails them all."""
        done: list[str] = []
        failed: list[dict[str, Any]] = []
        for entry in entries:
            try:
                self.change_message_visibility(
                    queue_name, entry["ReceiptHandle"], entry.get("VisibilityTimeout", 0)
                )
            except (exceptions.InvalidParameterValue, exceptions.ReceiptHandleIsInvalid) as fault:
                failed.append(_failed_entry(entry["Id"], fault))
            else:
                done.append(entry["Id"])
        return done, failed

    def strict_queue(self, queue_name: str) -> queues.StrictQueue:
        """Return the queue.

        Raises:
            QueueDoesNotExist: when there is none of that name.
        """
        queue = self.get_queue(queue_name)
        if not isinstance(queue, queues.StrictQueue):
            raise TypeError(f"{queue_name} was made before the simulator started")
        return queue


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Let moto build its SQS from the classes of this module.

    Raises:
        MotoChangedError: when moto's SQS no longer has the shape that they rely on.
    """
    for owner, name, parameters in (
        (models.Queue, "add_message", ("self", "message")),
        (models.Queue, "delete_message", ("self", "receipt_handle")),
        (models.Message, "mark_received", ("self", "visibility_timeout")),
        (models.SQSBackend, "create_queue", ("self", "name", "tags", "kwargs")),
        (models.SQSBackend, "send_message_batch", ("self", "queue_name", "entries")),
        (
            models.SQSBackend,
            "receive_message",
            (
                *("self", "queue_name", "count", "wait_seconds_timeout"),
                *("visibility_timeout", "message_attribute_names"),
            ),
        ),
    ):
        patches.expect(owner, name, parameters)
    original = models.sqs_backends.backend
    models.sqs_backends.backend = StrictBackend
    try:
        yield
    finally:
        models.sqs_backends.backend = original


def is_installed() -> bool:
    """Whether moto builds its SQS from the classes of this module now."""
    return models.sqs_backends.backend is StrictBackend


def _caller_is_gone() -> Callable[[], bool]:
    """Look at the connection of the request in hand.

    A long poll outlives a client that was killed. What it took then would stay hidden until its
    visibility timeout ends, though nobody received it.
    """
    if not flask.has_request_context():
        return lambda: False
    connection: socket.socket = flask.request.environ["werkzeug.socket"]

    def is_closed() -> bool:
        try:
            return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    return is_closed


def _is_wanted(name: str, patterns: Sequence[str]) -> bool:
    return any(
        pattern in ("All", name) or (pattern.endswith(".*") and name.startswith(pattern[:-2]))
        for pattern in patterns
    )


def _failed_entry(entry_id: str, fault: exceptions.SQSException) -> dict[str, Any]:
    return {"Id": entry_id, "SenderFault": True, "Code": fault.code, "Message": fault.message}
