"""Write notices on the Node, and retry until it succeeds."""

import math
from collections.abc import Callable, Mapping
from typing import Protocol

from queue_processor.domain import errors
from queue_processor.domain.notices import Notice
from queue_processor.watcher.json_log import JsonLog

_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 5.0


class NodeWriter(Protocol):
    """Writes annotations on one Node."""

    def annotate(self, annotations: Mapping[str, str]) -> None:
        """Set annotations, in one request.

        Raises:
            TemporaryError: It failed.
            PermanentError: It was refused; the text has the cure.
        """


class NoticeRecorder:
    """Has the latest notice for each annotation, and writes those that are not on the Node yet.

    All that wait go into one request. It is retried for ever, since the API server may be
    unavailable for as long as a notice lasts.
    """

    def __init__(self, writer: NodeWriter, *, log: JsonLog, monotonic: Callable[[], float]) -> None:
        self._writer = writer
        self._log = log
        self._monotonic = monotonic
        self._latest: dict[str, Notice] = {}
        self._waiting: set[str] = set()
        self._delay = _FIRST_DELAY_SECONDS
        self._logged_cause: str | None = None
        self.due_at = math.inf

    def latest(self, annotation: str) -> Notice | None:
        """Return the last notice that was added for an annotation."""
        return self._latest.get(annotation)

    def announced(self) -> list[Notice]:
        """Return the latest notices that are not cancelled."""
        return [notice for notice in self._latest.values() if not notice.is_cancelled]

    def add(self, notice: Notice) -> None:
        """Let a notice be written at once, and with it those that wait for another attempt."""
        self._latest[notice.annotation] = notice
        self._waiting.add(notice.annotation)
        self.due_at = self._monotonic()

    def write(self) -> None:
        """Write the notices that wait; after a failure, `due_at` is the time to try again."""
        notices = {name: self._latest[name].to_json() for name in sorted(self._waiting)}
        try:
            self._writer.annotate(notices)
        except errors.PermanentError as refusal:
            self._delay = _LONGEST_DELAY_SECONDS
            self._failed(refusal)
        except errors.TemporaryError as error:
            self._failed(error)
        else:
            self._log.info("notices_recorded", annotations=list(notices))
            self._waiting.clear()
            self._delay = _FIRST_DELAY_SECONDS
            self._logged_cause = None
            self.due_at = math.inf

    def _failed(self, error: errors.QueueProcessorError) -> None:
        cause = str(error)
        if cause != self._logged_cause:
            self._log.warning(
                "notices_not_recorded", annotations=sorted(self._waiting), cause=cause
            )
            self._logged_cause = cause
        self.due_at = self._monotonic() + self._delay
        self._delay = min(self._delay * 2, _LONGEST_DELAY_SECONDS)
