"""The journal of a replay: what was sent to which queue, on the disk before anything else happens.

A batch is noted before it is sent, and again when the queue has answered. After a kill the same
command can so continue: it skips what was sent, and sends again what may have been sent.
"""

import contextlib
import dataclasses
import datetime as dt
import enum
import json
import pathlib
from collections.abc import Collection, Iterator

from queue_processor.domain import errors
from queue_processor.messages import recordings
from queue_processor.messages.recordings import AppendedFile

SUFFIX = ".journal"


class JournalStep(enum.StrEnum):
    """What happened to messages.

    Attributes:
        SENDING: They are about to be sent.
        SENT: The queue has taken them.
        FAILED: The queue has certainly not taken them.
        AGAIN: Everything is to be sent once more.
    """

    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    AGAIN = "again"


@dataclasses.dataclass(slots=True)
class ReplayProgress:
    """The progress of replays to one queue.

    Attributes:
        sent: The ids of the messages that the queue has taken.
        unconfirmed: The ids of those that may have been taken: a replay ended before the answer.
    """

    sent: set[str] = dataclasses.field(default_factory=set)
    unconfirmed: set[str] = dataclasses.field(default_factory=set)

    def apply(self, step: JournalStep, ids: Collection[str]) -> None:
        """Apply one more step."""
        match step:
            case JournalStep.SENDING:
                self.unconfirmed.update(ids)
            case JournalStep.SENT:
                self.sent.update(ids)
                self.unconfirmed.difference_update(ids)
            case JournalStep.FAILED:
                self.unconfirmed.difference_update(ids)
            case JournalStep.AGAIN:
                self.sent.clear()
                self.unconfirmed.clear()

    def apply_line(self, line: bytes, queue_arn: str) -> None:
        """Apply a line of a journal if it is about this queue.

        Raises:
            UsageError: It is not a line of a journal.
        """
        try:
            fields = json.loads(line)
            if fields["queue"] == queue_arn:
                self.apply(JournalStep(fields["step"]), fields["ids"])
        except (ValueError, LookupError, TypeError) as cause:
            raise errors.UsageError("not a journal of a replay") from cause


class Journal:
    """The journal, and the progress that it shows."""

    def __init__(self, file: AppendedFile, queue_arn: str, progress: ReplayProgress) -> None:
        self._file = file
        self._queue_arn = queue_arn
        self.progress = progress

    def write(self, step: JournalStep, ids: Collection[str] = ()) -> None:
        """Write a step, and return when it is on the disk.

        Raises:
            PermanentError: It cannot be written, for example because the disk is full.
        """
        line = {
            "at": dt.datetime.now(dt.UTC).isoformat(),
            "queue": self._queue_arn,
            "step": step,
            "ids": list(ids),
        }
        self._file.append([json.dumps(line)])
        self.progress.apply(step, ids)


def read(path: pathlib.Path, *, queue_arn: str) -> ReplayProgress:
    """Read the progress of a replay to a queue, while another process may write it.

    Raises:
        UsageError: The file cannot be read, or is not a journal.
    """
    progress = ReplayProgress()
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return progress
    except OSError as error:
        raise errors.UsageError(f"{path}: {error.strerror}") from error
    for number, line in enumerate(raw.splitlines(keepends=True), start=1):
        if line.endswith(b"\n"):
            with recordings.located(f"{path}, line {number}"):
                progress.apply_line(line, queue_arn)
    return progress


@contextlib.contextmanager
def open_journal(path: pathlib.Path, *, queue_arn: str) -> Iterator[Journal]:
    """Begin a journal, or continue one.

    Raises:
        UsageError: It cannot be written, is not a journal, or another replay writes it.
    """
    progress = ReplayProgress()
    with recordings.open_appended(
        path,
        on_line=lambda line: progress.apply_line(line, queue_arn),
        hint="; --journal names another place",
    ) as file:
        yield Journal(file, queue_arn, progress)
