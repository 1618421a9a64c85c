"""The journal of a replay: what was sent to which queue, on the disk before anything else happens.

A batch is noted before it is sent, and again when the queue has answered. After a kill the same
command can so continue: it skips what was sent, and sends again what may have been sent.
"""

import contextlib
import datetime as dt
import enum
import json
import pathlib
from collections.abc import Collection, Iterator, Mapping

from queue_processor.domain import errors
from queue_processor.messages import recordings
from queue_processor.messages.recordings import AppendedFile

SUFFIX = ".journal"


class JournalStep(enum.StrEnum):
    """Something that happened to messages.

    Attributes:
        SENDING: They were about to be sent. If no other step follows, they may have been sent.
        SENT: The queue has taken them.
        FAILED: The queue has certainly not taken them.
        AGAIN: Everything before counts no more.
    """

    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    AGAIN = "again"


class Journal:
    """A journal that grows.

    Attributes:
        steps: The last step of each message, by its id.
    """

    def __init__(self, file: AppendedFile, queue_arn: str, steps: dict[str, JournalStep]) -> None:
        self._file = file
        self._queue_arn = queue_arn
        self.steps = steps

    def write(self, step: JournalStep, ids: Collection[str] = ()) -> None:
        """Write a step, and return when it is on the disk."""
        at = dt.datetime.now(dt.UTC).isoformat()
        line = {"at": at, "queue": self._queue_arn, "step": step, "ids": list(ids)}
        self._file.append([json.dumps(line)])
        _apply(self.steps, step, ids)


def _apply(steps: dict[str, JournalStep], step: JournalStep, ids: Collection[str]) -> None:
    if step is JournalStep.AGAIN:
        steps.clear()
    steps |= dict.fromkeys(ids, step)


def _apply_line(steps: dict[str, JournalStep], line: bytes, queue_arn: str) -> None:
    try:
        fields = json.loads(line)
        if fields["queue"] == queue_arn:
            _apply(steps, JournalStep(fields["step"]), fields["ids"])
    except (ValueError, LookupError, TypeError) as cause:
        raise errors.UsageError("not a journal of a replay") from cause


def read(path: pathlib.Path, *, queue_arn: str) -> Mapping[str, JournalStep]:
    """Return the last step of each message of a queue, while another process may write.

    Raises:
        UsageError: The file cannot be read, or is not a journal.
    """
    steps: dict[str, JournalStep] = {}
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return steps
    except OSError as error:
        raise errors.UsageError(f"{path}: {error.strerror}") from error
    for number, line in enumerate(raw.splitlines(keepends=True), start=1):
        if line.endswith(b"\n"):
            with recordings.located(f"{path}, line {number}"):
                _apply_line(steps, line, queue_arn)
    return steps


@contextlib.contextmanager
def open_journal(path: pathlib.Path, *, queue_arn: str) -> Iterator[Journal]:
    """Begin a journal, or continue one; for the errors see `recordings.open_appended`."""
    steps: dict[str, JournalStep] = {}
    with recordings.open_appended(
        path,
        on_line=lambda line: _apply_line(steps, line, queue_arn),
        hint="; --journal names another place",
    ) as file:
        yield Journal(file, queue_arn, steps)
