"""The errors of SQS, and the checks of a request before SQS acts on it.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-quotas.html
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_BATCH_SIZE = 10
_LARGEST_BATCH = 1_048_576
_MOST_ATTRIBUTES = 10
_ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
_ATTRIBUTE_NAME = re.compile(r"(?!\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,256}(?<!\.)")
_DATA_TYPE = re.compile(r"(String|Number|Binary)(\..{1,249})?")
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_NOT_IN_A_BODY = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# The errors that have another code for clients of the query protocol, boto3 among them.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-json-faqs.html
_QUERY_CODES = {
    "QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
    **{
        shape: f"AWS.SimpleQueueService.{shape}"
        for shape in (
            "BatchEntryIdsNotDistinct",
            "BatchRequestTooLong",
            "EmptyBatchRequest",
            "InvalidBatchEntryId",
            "TooManyEntriesInBatchRequest",
        )
    },
}


class SqsError(Exception):
    """A request that SQS refuses.

    Attributes:
        shape: The name of the error in the JSON protocol.
        message: The text that SQS gives with it.
    """

    def __init__(self, shape: str, message: str) -> None:
        super().__init__(f"{shape}: {message}")
        self.shape = shape
        self.message = message

    @property
    def query_code(self) -> str:
        """Return the code of the error as boto3 shows it."""
        return _QUERY_CODES.get(self.shape, self.shape)


def invalid_value(value: object, parameter: str, reason: str) -> SqsError:
    """Return the error for a parameter out of its range."""
    return SqsError(
        "InvalidParameterValue",
        f"Value {value} for parameter {parameter} is invalid. Reason: {reason}",
    )


def required(parameters: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - it is JSON
    """Return a parameter that a request must have."""
    if name not in parameters:
        raise SqsError("MissingParameter", f"The request must contain the parameter {name}.")
    return parameters[name]


def within(value: int, least: int, most: int, name: str) -> int:
    """Return a number if it is in its range."""
    if not least <= value <= most:
        raise invalid_value(value, name, f"Must be between {least} and {most}, if provided.")
    return value


def entries(parameters: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the entries of a batch request."""
    entries: Sequence[Mapping[str, Any]] = required(parameters, "Entries")
    ids = [str(entry["Id"]) for entry in entries]
    if not entries:
        raise SqsError("EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(entries) > _BATCH_SIZE:
        raise SqsError(
            "TooManyEntriesInBatchRequest",
            f"Maximum number of entries per request are 10. You have sent {len(entries)}.",
        )
    if len(set(ids)) < len(ids):
        raise SqsError("BatchEntryIdsNotDistinct", "Two or more batch entries have the same Id.")
    if not all(_ENTRY_ID.fullmatch(each) for each in ids):
        raise SqsError(
            "InvalidBatchEntryId",
            "A batch entry id can only contain alphanumeric characters, hyphens and underscores."
            " It can be at most 80 letters long.",
        )
    return entries


def check_batch_size(entries: Sequence[Mapping[str, Any]]) -> None:
    """Check that the messages of a batch are together no larger than one message may be."""
    total = sum(
        size(str(required(entry, "MessageBody")), entry.get("MessageAttributes", {}))
        for entry in entries
    )
    if total > _LARGEST_BATCH:
        raise SqsError(
            "BatchRequestTooLong",
            f"Batch requests cannot be longer than {_LARGEST_BATCH} bytes. You have sent {total}"
            " bytes.",
        )


def check_body(body: str) -> None:
    """Check that a body is not empty and has only characters that SQS takes."""
    if not body:
        raise SqsError("MissingParameter", "The request must contain the parameter MessageBody.")
    if _NOT_IN_A_BODY.search(body):
        raise SqsError(
            "InvalidMessageContents",
            "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to"
            " #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF",
        )


# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
def check_attributes(attributes: Mapping[str, Mapping[str, Any]]) -> None:
    """Check the message attributes of a message to send."""
    if len(attributes) > _MOST_ATTRIBUTES:
        raise SqsError(
            "InvalidParameterValue",
            f"Number of message attributes [{len(attributes)}] exceeds the allowed maximum [10].",
        )
    for name, attribute in attributes.items():
        kind = str(attribute.get("DataType", ""))
        field = "BinaryValue" if kind.startswith("Binary") else "StringValue"
        if not _ATTRIBUTE_NAME.fullmatch(name) or not _DATA_TYPE.fullmatch(kind):
            raise SqsError(
                "InvalidParameterValue",
                f"The name or the data type of the message attribute '{name}' is invalid.",
            )
        if not attribute.get(field):
            raise SqsError(
                "InvalidParameterValue",
                f"The message attribute '{name}' must contain a non-empty value of its type.",
            )


def size(body: str, attributes: Mapping[str, Mapping[str, Any]]) -> int:
    """Return how large a message is to SQS: its body and its attributes."""
    size = len(body.encode())
    for name, attribute in attributes.items():
        value = attribute.get("BinaryValue") or str(attribute.get("StringValue", "")).encode()
        size += len(name.encode()) + len(str(attribute.get("DataType", ""))) + len(value)
    return size
