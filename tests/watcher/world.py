"""One node with its watcher, in virtual time."""

import dataclasses
import datetime as dt
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

from queue_processor.domain import errors, notices
from queue_processor.domain.events import InterruptionEvent
from queue_processor.domain.identifiers import InstanceId
from queue_processor.watcher.connection import HttpAnswer, RequestTimedOut
from queue_processor.watcher.imds import MetadataClient
from queue_processor.watcher.json_log import JsonLog
from queue_processor.watcher.metadata_watcher import MetadataWatcher, Polling, WatcherClock
from tests.watcher import scripted_imds
from tests.watcher.scripted_imds import ScriptedImds

STARTED_AT = dt.datetime(2026, 11, 29, 12, 0, tzinfo=dt.UTC)
INSTANCE = InstanceId("i-1234567890abcdef0")
IMDS_TIMEOUT = 2.0


class VirtualTime:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> dt.datetime:
        return STARTED_AT + dt.timedelta(seconds=self.seconds)


class ScriptedConnection:
    """A connection to scripted instance metadata, without a network."""

    def __init__(self, imds: ScriptedImds, time: VirtualTime) -> None:
        self._imds = imds
        self._time = time

    def request(self, method: str, path: str, headers: Mapping[str, str]) -> HttpAnswer:
        lowered = {name.lower(): value for name, value in headers.items()}
        response = self._imds.respond(method, path, lowered)
        if response.hangs:
            self._time.seconds += IMDS_TIMEOUT
            raise RequestTimedOut("no answer")
        return HttpAnswer(
            status=response.status,
            body=response.body,
            headers={name.lower(): value for name, value in response.headers.items()},
        )


class FakeNode:
    """The Node, as the API server has it.

    Attributes:
        patches: When each patch arrived, and the names in it; refused ones, too.
        error: What happens to patches.
    """

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self.annotations: dict[str, str] = {}
        self.patches: list[tuple[float, list[str]]] = []
        self.error: errors.QueueProcessorError | None = None

    def annotate(self, annotations: Mapping[str, str]) -> None:
        self.patches.append((self._time.seconds, sorted(annotations)))
        if self.error is not None:
            raise self.error
        self.annotations.update(annotations)

    def events(self) -> list[InterruptionEvent]:
        """The events that the operator reads."""
        return [
            notices.parse(
                name, value, instance_id=INSTANCE, received_at=STARTED_AT + dt.timedelta(days=1)
            )
            for name, value in sorted(self.annotations.items())
        ]


@dataclasses.dataclass(slots=True)
class WatcherWorld:
    """Instance metadata, a watcher and a Node."""

    time: VirtualTime
    imds: ScriptedImds
    node: FakeNode
    log: io.StringIO
    polling: Polling
    watcher: MetadataWatcher = dataclasses.field(init=False)
    _plan: list[tuple[float, Callable[[], object]]] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Let a new watcher take over, which knows nothing."""
        log = JsonLog(self.log, node="node-1")
        self.watcher = MetadataWatcher(
            self.new_client(log),
            self.node,
            polling=self.polling,
            clock=WatcherClock(self.time.now, self.time.monotonic),
            log=log,
        )

    def new_client(self, log: JsonLog) -> MetadataClient:
        connection = ScriptedConnection(self.imds, self.time)
        return MetadataClient(connection, log=log, monotonic=self.time.monotonic)

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something at a time, between two turns."""
        self._plan.append((seconds, action))
        self._plan.sort(key=lambda planned: planned[0])

    def run_until(self, seconds: float) -> None:
        """Make turns until a time."""
        while True:
            pause = self.watcher.turn()
            due = self.time.seconds + pause
            while self._plan and self._plan[0][0] <= min(due, seconds):
                at, action = self._plan.pop(0)
                self.time.seconds = max(self.time.seconds, at)
                action()
            if due > seconds:
                self.time.seconds = max(self.time.seconds, seconds)
                return
            self.time.seconds = max(self.time.seconds, due)

    def logged(self, *names: str) -> list[dict[str, Any]]:
        """The lines with these names, or all of them."""
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in lines if not names or line["event"] in names]

    def log_events(self) -> list[str]:
        return [line["event"] for line in self.logged()]


def make(*, is_legacy_read: bool = False) -> WatcherWorld:
    time = VirtualTime()
    imds = ScriptedImds(time.monotonic)
    imds.bodies = {scripted_imds.INSTANCE_ID: INSTANCE, scripted_imds.SCHEDULED: "[]"}
    return WatcherWorld(
        time, imds, FakeNode(time), io.StringIO(), Polling(is_legacy_read=is_legacy_read)
    )
