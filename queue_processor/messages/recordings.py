"""Recorded messages on disk, as JSON lines: one message a line, as the AWS CLI prints it.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Message.html
"""

import base64
import binascii
import contextlib
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, TypeAlias

import filelock

from queue_processor.domain import errors
from queue_processor.domain.messages import Attribute, QueueMessage

JsonObject: TypeAlias = Mapping[str, object]


class AppendedFile:
    """A file of JSON lines that this process alone appends to."""

    def __init__(self, file: BinaryIO, path: pathlib.Path) -> None:
        self._file = file
        self._path = path

    def append(self, lines: Iterable[str]) -> None:
        """Append lines of ASCII, and return when they are on the disk.

        Raises:
            PermanentError: They cannot be written, for example because the disk is full.
        """
        try:
            self._file.writelines(line.encode("ascii") + b"\n" for line in lines)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise errors.PermanentError(
                f"{self._path} cannot be written: {error.strerror}"
            ) from error


@contextlib.contextmanager
def open_appended(
    path: pathlib.Path, *, on_line: Callable[[bytes], None], hint: str = ""
) -> Iterator[AppendedFile]:
    """Open a file of JSON lines, or create it, and lock it while the context is open.

    Args:
        path: The file.
        on_line: Called with each line that is in the file; raises UsageError for a wrong one.
        hint: What to do if the file cannot be opened.

    Raises:
        UsageError: The file cannot be written, another process writes it, or a line is wrong.
    """
    with contextlib.ExitStack() as stack:
        with _os_errors_translated(path, hint):
            file = stack.enter_context(path.open("a+b"))
            # Not the file itself: a lock on Windows keeps its owner from writing, too.
            lock = filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
            try:
                stack.enter_context(lock)
            except filelock.Timeout as cause:
                raise errors.UsageError(
                    f"{path}: another process is writing it; wait until it ends"
                ) from cause
            for number, line in enumerate(_whole_lines(file), start=1):
                with located(f"{path}, line {number}"):
                    on_line(line)
        yield AppendedFile(file, path)


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines, and leave the file so that another line can follow.

    A process that is killed may leave half a line, which is cut off.
    """
    file.seek(0)
    end, is_unfinished = 0, False
    for line in file:
        is_unfinished = not line.endswith(b"\n")
        if is_unfinished and line.startswith(b"{") and not _is_json(line):
            file.truncate(end)
            is_unfinished = False
            break
        end += len(line)
        yield line
    file.seek(0, os.SEEK_END)
    if is_unfinished:
        file.write(b"\n")


def _is_json(line: bytes) -> bool:
    # Half a JSON object is never JSON.
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


class Recording:
    """A recording that grows."""

    def __init__(self, file: AppendedFile, message_ids: set[str]) -> None:
        self._file = file
        self._ids = message_ids

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._ids

    def append(self, messages: Sequence[QueueMessage]) -> None:
        """Write messages, and return when they are on the disk."""
        self._file.append(dump(message) for message in messages)
        self._ids.update(message.message_id for message in messages)


@contextlib.contextmanager
def open_recording(path: pathlib.Path) -> Iterator[Recording]:
    """Begin a recording, or continue one; for the errors see `open_appended`."""
    ids: set[str] = set()
    with open_appended(path, on_line=lambda line: ids.add(_decode(line).message_id)) as file:
        yield Recording(file, ids)


def read(path: pathlib.Path) -> Sequence[QueueMessage]:
    """Read a recording; each message once.

    Raises:
        UsageError: It cannot be read, or is not a recording. The text names line and cause.
    """
    with _os_errors_translated(path):
        raw = path.read_bytes()
    lines = {number: line for number, line in enumerate(raw.splitlines(), start=1) if line.strip()}
    messages = []
    if len(lines) > 1 and not raw.lstrip().startswith(b'{"'):
        # One message, as a person or the AWS CLI writes it: over several lines.
        with located(str(path)):
            messages.append(_decode(raw))
    else:
        for number, line in lines.items():
            with located(f"{path}, line {number}"):
                messages.append(_decode(line))
    if not messages:
        raise errors.UsageError(f"{path}: there is no recorded message in it")
    return list({message.message_id: message for message in messages}.values())


@contextlib.contextmanager
def _os_errors_translated(path: pathlib.Path, hint: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.UsageError(f"{path}: {error.strerror}{hint}") from error


@contextlib.contextmanager
def located(place: str) -> Iterator[None]:
    """Name the file and the line in a UsageError."""
    try:
        yield
    except errors.UsageError as error:
        raise errors.UsageError(f"{place}: {error}") from error


def _decode(raw: bytes) -> QueueMessage:
    try:
        return parse(raw.decode())
    except UnicodeDecodeError as cause:
        raise errors.UsageError("not UTF-8") from cause


def dump(message: QueueMessage) -> str:
    """Return the message as one line of ASCII, without the line's end."""
    fields = {
        "MessageId": message.message_id,
        "Body": message.body,
        "Attributes": dict(message.system),
        "MessageAttributes": {
            name: _dump_attribute(attribute) for name, attribute in message.attributes.items()
        },
    }
    return json.dumps(fields, separators=(",", ":"))


def _dump_attribute(attribute: Attribute) -> Mapping[str, str]:
    if isinstance(attribute.value, bytes):
        encoded = base64.b64encode(attribute.value).decode("ascii")
        return {"DataType": attribute.data_type, "BinaryValue": encoded}
    return {"DataType": attribute.data_type, "StringValue": attribute.value}


def parse_single(text: str) -> QueueMessage | None:
    """Read a text that may be a recording of one message; return None if it is not a recording.

    Raises:
        UsageError: It is a recording of several messages.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not all(_is_recorded(line) for line in lines):
        return parse(text) if _is_recorded(text) else None
    if len(lines) > 1:
        raise errors.UsageError(f"a recording of {len(lines)} messages, where one is needed")
    return parse(lines[0]) if lines else None


def _is_recorded(text: str) -> bool:
    # An event has no such keys.
    try:
        fields: object = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and {"MessageId", "Body"} <= fields.keys()


def parse(text: str) -> QueueMessage:
    """Read a recorded message.

    Raises:
        UsageError: It is not a recorded message. The text names the cause.
    """
    try:
        fields: object = json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise errors.UsageError(f"not a recorded message: not JSON: {cause}") from cause
    if not isinstance(fields, dict):
        raise errors.UsageError("not a recorded message: not a JSON object")
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
            f"not a recorded message: attribute {name[:60]!r} is not base64"
        ) from cause
    return Attribute(data_type=data_type, value=value)


def _text(fields: JsonObject, key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise errors.UsageError(f"not a recorded message: {key[:60]} is missing, or not a text")
    return value


def _object(fields: JsonObject, key: str) -> JsonObject:
    value = fields.get(key, {})
    if not isinstance(value, dict):
        raise errors.UsageError(f"not a recorded message: {key[:60]} is not an object")
    return value
