"""A message on disk, as the AWS CLI prints it: one JSON object with body and attributes verbatim.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Message.html
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import TypeAlias

from queue_processor.domain import errors
from queue_processor.domain.messages import Attribute, QueueMessage

JsonObject: TypeAlias = Mapping[str, object]


def write(message: QueueMessage) -> str:
    """The message as one line of ASCII, without the line's end."""
    fields = {
        "MessageId": message.message_id,
        "Body": message.body,
        "Attributes": dict(message.system),
        "MessageAttributes": {
            name: _written(attribute) for name, attribute in message.attributes.items()
        },
    }
    return json.dumps(fields, separators=(",", ":"))


def _written(attribute: Attribute) -> dict[str, str]:
    if isinstance(attribute.value, bytes):
        encoded = base64.b64encode(attribute.value).decode("ascii")
        return {"DataType": attribute.data_type, "BinaryValue": encoded}
    return {"DataType": attribute.data_type, "StringValue": attribute.value}


def read_only(text: str) -> QueueMessage | None:
    """Read a file that may be a recording of one message; None when it is no recording.

    Raises:
        UsageError: It is a recording of several messages.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not all(_is_recorded(line) for line in lines):
        return read(text) if _is_recorded(text) else None
    if len(lines) > 1:
        raise errors.UsageError(f"a recording of {len(lines)} messages, where one is needed")
    return read(lines[0]) if lines else None


def _is_recorded(text: str) -> bool:
    """Whether it is a message, and no event: events have no such keys."""
    try:
        fields: object = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and {"MessageId", "Body"} <= fields.keys()


def read(text: str) -> QueueMessage:
    """Read a recorded message.

    Raises:
        UsageError: It is none; the text says why.
    """
    try:
        fields: object = json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise errors.UsageError(f"no recorded message: not JSON: {cause}") from cause
    if not isinstance(fields, dict):
        raise errors.UsageError("no recorded message: not a JSON object")
    system, attributes = _object(fields, "Attributes"), _object(fields, "MessageAttributes")
    return QueueMessage(
        message_id=_text(fields, "MessageId"),
        body=_text(fields, "Body"),
        system={name: _text(system, name) for name in system},
        attributes={name: _attribute(_object(attributes, name), name) for name in attributes},
    )


def _attribute(fields: JsonObject, name: str) -> Attribute:
    data_type = _text(fields, "DataType")
    if "BinaryValue" not in fields:
        return Attribute(data_type=data_type, value=_text(fields, "StringValue"))
    try:
        value = base64.b64decode(_text(fields, "BinaryValue"), validate=True)
    except binascii.Error as cause:
        raise errors.UsageError(
            f"no recorded message: attribute {name[:60]!r} is not base64"
        ) from cause
    return Attribute(data_type=data_type, value=value)


def _text(fields: JsonObject, key: str) -> str:
    found = fields.get(key)
    if not isinstance(found, str):
        raise errors.UsageError(f"no recorded message: {key[:60]} is missing, or no text")
    return found


def _object(fields: JsonObject, key: str) -> JsonObject:
    found = fields.get(key, {})
    if not isinstance(found, dict):
        raise errors.UsageError(f"no recorded message: {key[:60]} is no object")
    return found
