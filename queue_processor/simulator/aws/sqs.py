"""The API of SQS: the queues of one account and Region, and the requests that they answer.

Requests and answers have the shapes of the JSON protocol, which are those of boto3 as well; only
binary values are bytes here. Two shells stand around it: `http` for processes, and `in_process` for
an event loop, which may be one in virtual time.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Operations.html
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from queue_processor.simulator.aws import checks
from queue_processor.simulator.aws.checks import SqsError, invalid_value
from queue_processor.simulator.aws.queues import SimulatedMessage, SimulatedQueue

Parameters: TypeAlias = Mapping[str, Any]
Answer: TypeAlias = dict[str, Any]
_Act: TypeAlias = Callable[[Parameters], Answer]

ACCOUNT = "123456789012"
REGION = "us-east-1"

_QUEUE_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")


class SimulatedSqs:
    """The queues of one account and Region.

    Attributes:
        queues: By name.
        endpoint_url: Where the URLs of the queues point to.
    """

    def __init__(self, *, endpoint_url: str = "https://sqs.invalid") -> None:
        self.queues: dict[str, SimulatedQueue] = {}
        self.endpoint_url = endpoint_url

    def call(self, action: str, parameters: Parameters, now: float) -> Answer:
        """Answer one request, at once: a receive does not wait.

        Raises:
            SqsError: SQS refuses the request.
        """
        answer = self._ACTIONS.get(action)
        if answer is None:
            raise SqsError("InvalidAction", f"The action {action} is not valid for this endpoint.")
        return answer(self, parameters, now)

    def wait_seconds(self, parameters: Parameters) -> float:
        """Return how long a receive may wait for its first message.

        Raises:
            SqsError: There is no such queue, or SQS takes no such time.
        """
        queue = self.queue(parameters)
        seconds = parameters.get(
            "WaitTimeSeconds", queue.settings.number("ReceiveMessageWaitTimeSeconds")
        )
        return checks.within(seconds, 0, 20, "WaitTimeSeconds")

    def queue(self, parameters: Parameters) -> SimulatedQueue:
        """Return the queue that a request names by its URL.

        Raises:
            SqsError: There is none of that URL.
        """
        return self._named(str(checks.required(parameters, "QueueUrl")).rpartition("/")[2])

    def dead_letter_queue(self, queue: SimulatedQueue) -> SimulatedQueue | None:
        """Return the dead-letter queue of a queue; None when there is none, or it was deleted."""
        rule = queue.settings.dead_letter_rule
        return None if rule is None else self.queues.get(rule.target_arn.rpartition(":")[2])

    def url_of(self, name: str) -> str:
        """Return the URL of a queue."""
        return f"{self.endpoint_url}/{ACCOUNT}/{name}"

    @staticmethod
    def arn_of(name: str) -> str:
        """Return the ARN of a queue."""
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"

    def _named(self, name: str) -> SimulatedQueue:
        queue = self.queues.get(name)
        if queue is None:
            raise SqsError("QueueDoesNotExist", "The specified queue does not exist.")
        return queue

    # Queues.

    def _create_queue(self, parameters: Parameters, now: float) -> Answer:
        name = checks.required(parameters, "QueueName")
        attributes = parameters.get("Attributes", {})
        existing = self.queues.get(name)
        if existing is not None:
            current = existing.attributes(now)
            if any(current.get(key) != value for key, value in attributes.items()):
                raise SqsError(
                    "QueueNameExists",
                    "A queue already exists with the same name and a different value for an"
                    " attribute.",
                )
        else:
            if "FifoQueue" not in attributes and not _QUEUE_NAME.fullmatch(name):
                raise SqsError(
                    "InvalidParameterValue",
                    "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in"
                    " length",
                )
            queue = SimulatedQueue(name, self.arn_of(name), attributes, now)
            self._check_target(queue)
            self.queues[name] = queue
        return {"QueueUrl": self.url_of(name)}

    def _delete_queue(self, parameters: Parameters, _now: float) -> Answer:
        del self.queues[self.queue(parameters).name]
        return {}

    def _purge_queue(self, parameters: Parameters, now: float) -> Answer:
        self.queue(parameters).purge(now)
        return {}

    def _get_queue_url(self, parameters: Parameters, _now: float) -> Answer:
        return {"QueueUrl": self.url_of(self._named(checks.required(parameters, "QueueName")).name)}

    def _get_queue_attributes(self, parameters: Parameters, now: float) -> Answer:
        attributes = self.queue(parameters).attributes(now)
        names = parameters.get("AttributeNames", ())
        if "All" not in names:
            attributes = {name: attributes[name] for name in names if name in attributes}
        return {"Attributes": attributes} if attributes else {}

    def _set_queue_attributes(self, parameters: Parameters, now: float) -> Answer:
        queue = self.queue(parameters)
        queue.settings.change(checks.required(parameters, "Attributes"), now)
        self._check_target(queue)
        return {}

    def _list_dead_letter_source_queues(self, parameters: Parameters, _now: float) -> Answer:
        target = self.queue(parameters)
        return {
            "queueUrls": [
                self.url_of(queue.name)
                for queue in self.queues.values()
                if self.dead_letter_queue(queue) is target
            ]
        }

    def _check_target(self, queue: SimulatedQueue) -> None:
        rule = queue.settings.dead_letter_rule
        if rule is not None and self.dead_letter_queue(queue) is None:
            raise invalid_value(rule.target_arn, "RedrivePolicy", "Dead letter target not found.")

    # Messages.

    def _send_message(self, parameters: Parameters, now: float) -> Answer:
        queue = self.queue(parameters)
        body = checks.required(parameters, "MessageBody")
        attributes = parameters.get("MessageAttributes", {})
        checks.check_body(body)
        checks.check_attributes(attributes)
        most = queue.settings.number("MaximumMessageSize")
        if checks.size(body, attributes) > most:
            raise SqsError(
                "InvalidParameterValue",
                "One or more parameters are invalid. Reason: Message must be shorter than"
                f" {most} bytes.",
            )
        delay = parameters.get("DelaySeconds", queue.settings.number("DelaySeconds"))
        message = queue.send(
            body,
            now=now,
            attributes=attributes,
            delay_seconds=checks.within(delay, 0, 900, "DelaySeconds"),
        )
        return {"MessageId": message.message_id, "MD5OfMessageBody": _md5(body)}

    def _send_message_batch(self, parameters: Parameters, now: float) -> Answer:
        entries = checks.entries(parameters)
        checks.check_batch_size(entries)
        return self._each(entries, parameters, lambda entry: self._send_message(entry, now))

    def _receive_message(self, parameters: Parameters, now: float) -> Answer:
        queue = self.queue(parameters)
        self.wait_seconds(parameters)
        visibility = parameters.get("VisibilityTimeout", queue.settings.number("VisibilityTimeout"))
        taken = queue.receive(
            checks.within(parameters.get("MaxNumberOfMessages", 1), 1, 10, "MaxNumberOfMessages"),
            visibility_seconds=checks.within(visibility, 0, 43_200, "VisibilityTimeout"),
            now=now,
            dead_letter_queue=self.dead_letter_queue(queue),
        )
        system = parameters.get("MessageSystemAttributeNames", parameters.get("AttributeNames", ()))
        names = parameters.get("MessageAttributeNames", ())
        return {"Messages": [_printed(each, system, names) for each in taken]} if taken else {}

    def _delete_message(self, parameters: Parameters, now: float) -> Answer:
        self.queue(parameters).delete(checks.required(parameters, "ReceiptHandle"), now)
        return {}

    def _delete_message_batch(self, parameters: Parameters, now: float) -> Answer:
        entries = checks.entries(parameters)
        return self._each(entries, parameters, lambda entry: self._delete_message(entry, now))

    def _change_message_visibility(self, parameters: Parameters, now: float) -> Answer:
        self.queue(parameters).change_visibility(
            checks.required(parameters, "ReceiptHandle"),
            parameters.get("VisibilityTimeout", 0),
            now,
        )
        return {}

    def _change_message_visibility_batch(self, parameters: Parameters, now: float) -> Answer:
        entries = checks.entries(parameters)
        return self._each(
            entries, parameters, lambda entry: self._change_message_visibility(entry, now)
        )

    def _each(self, entries: Sequence[Parameters], parameters: Parameters, act: _Act) -> Answer:
        """Act on each entry of a batch, which succeeds or fails on its own."""
        self.queue(parameters)
        done, failed = [], []
        for entry in entries:
            try:
                result = act({**entry, "QueueUrl": parameters["QueueUrl"]})
            except SqsError as error:
                failed.append(
                    {
                        "Id": entry["Id"],
                        "Code": error.query_code,
                        "Message": error.message,
                        "SenderFault": True,
                    }
                )
            else:
                done.append({"Id": entry["Id"], **result})
        return {"Successful": done, "Failed": failed} if failed else {"Successful": done}

    # By name.
    _ACTIONS: ClassVar[Mapping[str, Callable[["SimulatedSqs", Parameters, float], Answer]]] = {
        "ChangeMessageVisibility": _change_message_visibility,
        "ChangeMessageVisibilityBatch": _change_message_visibility_batch,
        "CreateQueue": _create_queue,
        "DeleteMessage": _delete_message,
        "DeleteMessageBatch": _delete_message_batch,
        "DeleteQueue": _delete_queue,
        "GetQueueAttributes": _get_queue_attributes,
        "GetQueueUrl": _get_queue_url,
        "ListDeadLetterSourceQueues": _list_dead_letter_source_queues,
        "PurgeQueue": _purge_queue,
        "ReceiveMessage": _receive_message,
        "SendMessage": _send_message,
        "SendMessageBatch": _send_message_batch,
        "SetQueueAttributes": _set_queue_attributes,
    }


def _printed(
    message: SimulatedMessage, system: Iterable[str], names: Iterable[str]
) -> dict[str, object]:
    """Return a message as a receive does, with the attributes that the request names."""
    every = {
        "SentTimestamp": _milliseconds(message.sent_at),
        "ApproximateFirstReceiveTimestamp": _milliseconds(message.first_received_at or 0),
        "ApproximateReceiveCount": str(message.receive_count),
        "SenderId": ACCOUNT,
    }
    optional = {
        "Attributes": {
            name: value for name, value in every.items() if name in system or "All" in system
        },
        "MessageAttributes": {
            name: value for name, value in message.attributes.items() if _matches(name, names)
        },
    }
    return {
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt_handle,
        "Body": message.body,
        "MD5OfBody": _md5(message.body),
        **{name: value for name, value in optional.items() if value},
    }


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(
        pattern in ("All", ".*", name) or (pattern.endswith(".*") and name.startswith(pattern[:-2]))
        for pattern in patterns
    )


def _md5(body: str) -> str:
    return hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()


def _milliseconds(moment: float) -> str:
    return str(int(moment * 1000))
