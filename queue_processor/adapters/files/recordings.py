"""Recorded messages on disk: one a line in a file, or one a file in a directory."""

import contextlib
import fcntl
import json
import os
import pathlib
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Protocol

from queue_processor.domain import errors, recording
from queue_processor.domain.messages import QueueMessage

LINES_SUFFIX = ".jsonl"
_MESSAGE_SUFFIX = ".json"


class Recording(Protocol):
    """A recording that grows."""

    def knows(self, message_id: str) -> bool:
        """Whether a message is in it."""

    def add(self, messages: Iterable[QueueMessage]) -> None:
        """Write messages, and return when they are on the disk.

        Raises:
            PermanentError: They cannot be written: the disk is full, say.
        """


class _Lines:
    """One message a line."""

    def __init__(self, file: BinaryIO, path: pathlib.Path, known: Iterable[str]) -> None:
        self._file = file
        self._path = path
        self._known = set(known)

    def knows(self, message_id: str) -> bool:
        return message_id in self._known

    def add(self, messages: Iterable[QueueMessage]) -> None:
        with written(self._path):
            for message in messages:
                self._file.write(recording.write(message).encode("ascii") + b"\n")
                self._known.add(message.message_id)
            sync(self._file)


class _Folder:
    """One message a file, which has the message's id for its name."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder

    def _path(self, message_id: str) -> pathlib.Path:
        return self._folder / f"{urllib.parse.quote(message_id, safe='')}{_MESSAGE_SUFFIX}"

    def knows(self, message_id: str) -> bool:
        return self._path(message_id).exists()

    def add(self, messages: Iterable[QueueMessage]) -> None:
        for message in messages:
            path = self._path(message.message_id)
            # Only a whole file has the name of one.
            partial = path.with_suffix(".partial")
            with written(path):
                with partial.open("wb") as file:
                    file.write(recording.write(message).encode("ascii") + b"\n")
                    sync(file)
                partial.replace(path)


@contextlib.contextmanager
def written(path: pathlib.Path) -> Iterator[None]:
    """Tell which file could not be written.

    Raises:
        PermanentError: Something inside failed for want of space, or the like.
    """
    try:
        yield
    except OSError as error:
        raise errors.PermanentError(f"{path} cannot be written: {error.strerror}") from error


def sync(file: BinaryIO) -> None:
    """Return when everything that was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def appended(path: pathlib.Path) -> Iterator[Recording]:
    """Begin a recording, or go on with one.

    Args:
        path: A file whose name ends in .jsonl, or else a directory.

    Raises:
        UsageError: It cannot be written, or another process is writing it.
    """
    if path.suffix != LINES_SUFFIX:
        with _told(path):
            path.mkdir(parents=True, exist_ok=True)
        yield _Folder(path)
        return
    with contextlib.ExitStack() as stack:
        with _told(path):
            file = stack.enter_context(path.open("a+b"))
            lock(file, path)
            known = [message.message_id for message in _whole_lines(file, path)]
        yield _Lines(file, path, known)


def lock(file: BinaryIO, path: pathlib.Path) -> None:
    """Keep other processes from writing a file for as long as it is open.

    Raises:
        UsageError: Another one does.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as cause:
        raise errors.UsageError(
            f"{path}: another process is writing it; wait for its end"
        ) from cause


def whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file of JSON objects, to whose end something will be written.

    What a kill left of a last line is cut off.
    """
    file.seek(0)
    end, lacks_end = 0, False
    for line in file:
        lacks_end = not line.endswith(b"\n")
        if lacks_end and not _is_json(line):
            file.truncate(end)
            lacks_end = False
            break
        end += len(line)
        yield line
    file.seek(0, os.SEEK_END)
    if lacks_end:
        file.write(b"\n")


def _is_json(line: bytes) -> bool:
    """Whether it is whole: no part of a JSON object is JSON."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _whole_lines(file: BinaryIO, path: pathlib.Path) -> Iterator[QueueMessage]:
    for number, line in enumerate(whole_lines(file), start=1):
        yield _read(line, f"{path}, line {number}")


def read(path: pathlib.Path) -> Sequence[QueueMessage]:
    """Read a recording, the oldest message first where it is a directory; each message once.

    Raises:
        UsageError: It cannot be read, or is no recording; the text says where and why.
    """
    with _told(path):
        found = _read_folder(path) if path.is_dir() else _read_file(path)
    if not found:
        raise errors.UsageError(f"{path}: no recorded message in it")
    return list({message.message_id: message for message in found}.values())


def _read_folder(path: pathlib.Path) -> Sequence[QueueMessage]:
    files = sorted(path.glob(f"*{_MESSAGE_SUFFIX}"))
    found = [_read(file.read_bytes(), str(file)) for file in files]
    return sorted(found, key=lambda message: message.system.get("SentTimestamp", ""))


def _read_file(path: pathlib.Path) -> Sequence[QueueMessage]:
    raw = path.read_bytes()
    lines = raw.splitlines(keepends=False)
    if len(lines) > 1 and not raw.lstrip().startswith(b'{"'):
        # One message, as a person or the AWS CLI writes it: over several lines.
        return [_read(raw, str(path))]
    return [
        _read(line, f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]


def _read(raw: bytes, where: str) -> QueueMessage:
    try:
        return recording.read(raw.decode())
    except UnicodeDecodeError as cause:
        raise errors.UsageError(f"{where}: not UTF-8") from cause
    except errors.UsageError as error:
        raise errors.UsageError(f"{where}: {error}") from error


@contextlib.contextmanager
def _told(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.UsageError(f"{path}: {error.strerror}") from error
