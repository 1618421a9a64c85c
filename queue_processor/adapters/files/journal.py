"""What has been sent of a recording, on the disk before anything else happens."""

import contextlib
import dataclasses
import datetime as dt
import json
import pathlib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import BinaryIO

from queue_processor.adapters.files import recordings
from queue_processor.domain import errors

_SUFFIX = ".journal"


@dataclasses.dataclass(slots=True)
class Progress:
    """How far a replay to one queue has come.

    Attributes:
        sent: The ids of the messages that the queue has taken.
        doubtful: The ids of those that were on their way when a replay ended: the queue may
            have them.
    """

    sent: set[str] = dataclasses.field(default_factory=set)
    doubtful: set[str] = dataclasses.field(default_factory=set)

    def take_in(self, step: str, ids: Collection[str]) -> None:
        """Learn of one more step."""
        match step:
            case "sending":
                self.doubtful.update(ids)
            case "sent":
                self.sent.update(ids)
                self.doubtful.difference_update(ids)
            case "failed":
                self.doubtful.difference_update(ids)
            case "again":
                self.sent.clear()
                self.doubtful.clear()
            case _:
                raise ValueError(step)


class Journal:
    """Written while a recording is replayed."""

    def __init__(
        self,
        file: BinaryIO,
        path: pathlib.Path,
        *,
        queue: str,
        progress: Progress,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self._file = file
        self._path = path
        self._queue = queue
        self._clock = clock
        self.progress = progress

    def sending(self, ids: Collection[str]) -> None:
        """Messages are about to be sent."""
        self._write("sending", ids)

    def sent(self, ids: Collection[str]) -> None:
        """The queue has taken messages."""
        self._write("sent", ids)

    def failed(self, ids: Collection[str]) -> None:
        """The queue has not taken messages, for certain."""
        self._write("failed", ids)

    def again(self) -> None:
        """Everything is to be sent once more."""
        self._write("again", ())

    def _write(self, step: str, ids: Collection[str]) -> None:
        line = {
            "at": self._clock().isoformat(),
            "queue": self._queue,
            "step": step,
            "ids": list(ids),
        }
        with recordings.written(self._path):
            self._file.write(json.dumps(line).encode("ascii") + b"\n")
            recordings.sync(self._file)
        self.progress.take_in(step, ids)


def path_for(recording: pathlib.Path) -> pathlib.Path:
    """Where the journal of a recording lies: beside a file, inside a directory."""
    if recording.is_dir():
        return recording / f"replay{_SUFFIX}"
    return recording.with_name(recording.name + _SUFFIX)


def read(path: pathlib.Path, *, queue: str) -> Progress:
    """Read how far a replay has come; nothing where there is no journal.

    Args:
        path: The journal.
        queue: The ARN of the queue that counts.

    Raises:
        UsageError: The file cannot be read, or is no journal.
    """
    try:
        with path.open("rb") as file:
            return _progress((line for line in file if line.endswith(b"\n")), path, queue)
    except FileNotFoundError:
        return Progress()
    except OSError as error:
        raise errors.UsageError(f"{path}: {error.strerror}") from error


@contextlib.contextmanager
def opened(
    path: pathlib.Path, *, queue: str, clock: Callable[[], dt.datetime]
) -> Iterator[Journal]:
    """Begin a journal, or go on with one.

    Args:
        path: The journal.
        queue: The ARN of the queue to which messages are sent.
        clock: The present.

    Raises:
        UsageError: It cannot be written, is no journal, or another replay is writing it.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("a+b"))
        except OSError as error:
            raise errors.UsageError(
                f"{path}: {error.strerror}; --journal names another place"
            ) from error
        recordings.lock(file, path)
        progress = _progress(recordings.whole_lines(file), path, queue)
        yield Journal(file, path, queue=queue, progress=progress, clock=clock)


def _progress(lines: Iterable[bytes], path: pathlib.Path, queue: str) -> Progress:
    progress = Progress()
    for number, line in enumerate(lines, start=1):
        try:
            fields = json.loads(line)
            if fields["queue"] == queue:
                progress.take_in(fields["step"], fields["ids"])
        except (ValueError, LookupError, TypeError) as cause:
            raise errors.UsageError(f"{path}, line {number}: no journal of a replay") from cause
    return progress
