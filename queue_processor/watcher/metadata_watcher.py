"""Watch the instance metadata of one node."""

import dataclasses
import datetime as dt
import math
from collections.abc import Callable, Iterator
from typing import Protocol

from queue_processor.domain import errors, identifiers, notices
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.notices import Notice
from queue_processor.watcher import announcements
from queue_processor.watcher.announcements import AnnouncementPath, Announcements
from queue_processor.watcher.json_log import JsonLog
from queue_processor.watcher.recorder import NodeWriter, NoticeRecorder

_LONGEST_INTERVAL_SECONDS = 10.0
_NO_ANSWER = (errors.TemporaryError, errors.MalformedMessage)


class MetadataReader(Protocol):
    """Reads instance metadata."""

    def get(self, path: str) -> str | None:
        """Return the body at a path; `MetadataClient` has the contract."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Polling:
    """The times and paths of polls.

    Attributes:
        interval_seconds: From one poll to the next while instance metadata answers.
        is_legacy_read: True to poll `spot/termination-time`, too.
    """

    interval_seconds: float = 2.0
    is_legacy_read: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class WatcherClock:
    """Two clocks: the time (UTC), and one in seconds that is never set."""

    now: Callable[[], dt.datetime]
    monotonic: Callable[[], float]


class MetadataWatcher:
    """Polls the instance metadata of one node, and records on the Node what is new.

    It never waits: the caller calls `turn` again when it is due.
    """

    def __init__(
        self,
        metadata: MetadataReader,
        writer: NodeWriter,
        *,
        polling: Polling,
        clock: WatcherClock,
        log: JsonLog,
    ) -> None:
        self._metadata = metadata
        self._recorder = NoticeRecorder(writer, log=log, monotonic=clock.monotonic)
        self._polling = polling
        self._clock = clock
        self._log = log
        self._outage = _MetadataOutage(log, clock.monotonic)
        self._interval = polling.interval_seconds
        self._poll_at = -math.inf
        self._instance_id: InstanceId | None = None
        self._is_history_read = False

    def turn(self) -> float:
        """Poll and write if it is time to, and return the seconds until the next turn."""
        if self._clock.monotonic() >= self._poll_at:
            self._poll()
        if self._clock.monotonic() >= self._recorder.due_at:
            self._recorder.write()
        return max(0.0, min(self._poll_at, self._recorder.due_at) - self._clock.monotonic())

    def _poll(self) -> None:
        began_at = self._clock.monotonic()
        instance_id = self._identify()
        answers = [False]
        if instance_id is not None:
            answers = [self._read(path, instance_id) for path in self._paths()]
        if all(answers):
            self._outage.end()
        if any(answers):
            self._interval = self._polling.interval_seconds
            self._poll_at = began_at + self._interval
        else:
            self._poll_at = self._clock.monotonic() + self._interval
            longest = max(_LONGEST_INTERVAL_SECONDS, self._polling.interval_seconds)
            self._interval = min(self._interval * 2, longest)

    def _identify(self) -> InstanceId | None:
        """Return the instance id; without it there is no notice to write."""
        if self._instance_id is None:
            try:
                self._instance_id = self._read_instance_id()
            except _NO_ANSWER as error:
                self._outage.note(announcements.INSTANCE_ID_PATH, error)
        return self._instance_id

    def _read_instance_id(self) -> InstanceId:
        text = self._metadata.get(announcements.INSTANCE_ID_PATH)
        if text is None:
            raise errors.TemporaryError("HTTP 404")
        instance_id = identifiers.parse_instance_id(text.strip())
        if instance_id is None:
            raise errors.MalformedMessage(f"{text[:60]!r} is no instance id")
        return instance_id

    def _paths(self) -> Iterator[AnnouncementPath]:
        """Yield what to read now; what is read first decides about the rest."""
        yield from announcements.POLLED
        if self._polling.is_legacy_read and self._recorder.latest(announcements.SPOT) is None:
            yield announcements.TERMINATION_TIME
        if not self._is_history_read:
            yield announcements.PAST_EVENTS

    def _read(self, path: AnnouncementPath, instance_id: InstanceId) -> bool:
        """Read a path, and return True if it was answered."""
        try:
            body = self._metadata.get(path.path)
            if body is not None:
                self._take(path, path.read(body.strip()), instance_id)
            elif path is announcements.PAST_EVENTS:
                self._is_history_read = True
        except _NO_ANSWER as error:
            self._outage.note(path.path, error)
            return False
        return True

    def _take(
        self, path: AnnouncementPath, announced: Announcements, instance_id: InstanceId
    ) -> None:
        """Record what is new; one announcement that is malformed does not stop the others."""
        malformed: errors.MalformedMessage | None = None
        for annotation, body in announced.items():
            # What is scheduled has been read before the history, and is newer.
            if path is announcements.PAST_EVENTS and self._recorder.latest(annotation):
                continue
            try:
                self._record(annotation, body, instance_id)
            except errors.MalformedMessage as error:
                malformed = malformed or error
        if path is announcements.PAST_EVENTS:
            self._is_history_read = True
        if path is announcements.SCHEDULED_EVENTS:
            self._cancel_all_but(announced)
        if malformed is not None:
            raise malformed

    def _record(self, annotation: str, body: str, instance_id: InstanceId) -> None:
        """Record an announcement unless it is recorded, or raise MalformedMessage."""
        is_cancelled = announcements.is_scheduled(annotation) and notices.is_over(body)
        latest = self._recorder.latest(annotation)
        if latest and (latest.body, latest.is_cancelled) == (body, is_cancelled):
            return
        self._add(
            Notice(
                annotation=annotation,
                instance_id=instance_id,
                seen_at=self._clock.now(),
                body=body,
                is_cancelled=is_cancelled,
            )
        )

    def _cancel_all_but(self, announced: Announcements) -> None:
        """Record that scheduled events are not announced any more."""
        for notice in self._recorder.announced():
            if announcements.is_scheduled(notice.annotation) and notice.annotation not in announced:
                self._add(dataclasses.replace(notice, seen_at=self._clock.now(), is_cancelled=True))

    def _add(self, notice: Notice) -> None:
        """Let a notice be written, if the operator will understand it."""
        instance_id = InstanceId(notice.instance_id)
        event = notices.parse(
            notice.annotation, notice.to_json(), instance_id=instance_id, received_at=notice.seen_at
        )
        self._recorder.add(notice)
        self._log.info(
            "notice_seen",
            kind=event.kind,
            event_id=event.event_id,
            instance_id=instance_id,
            body=notice.body,
            is_cancelled=notice.is_cancelled,
        )


class _MetadataOutage:
    """Logs once when instance metadata stops answering, and once when it answers again.

    Silence and a body that cannot be understood have different causes, so that each is logged.
    """

    def __init__(self, log: JsonLog, monotonic: Callable[[], float]) -> None:
        self._log = log
        self._monotonic = monotonic
        self._began_at: float | None = None
        self._logged: set[bool] = set()

    def note(self, path: str, error: errors.QueueProcessorError) -> None:
        """Log a path without an answer."""
        if self._began_at is None:
            self._began_at = self._monotonic()
        is_malformed = isinstance(error, errors.MalformedMessage)
        if is_malformed in self._logged:
            return
        self._logged.add(is_malformed)
        if is_malformed:
            self._log.warning("imds_body_not_understood", path=path, cause=str(error))
        else:
            self._log.warning("imds_unavailable", path=path, cause=str(error))

    def end(self) -> None:
        """Log that every path is answered."""
        if self._began_at is not None:
            seconds = self._monotonic() - self._began_at
            self._log.info("imds_available", seconds=round(seconds, 3))
        self._began_at = None
        self._logged.clear()
