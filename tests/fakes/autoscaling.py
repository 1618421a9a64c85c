"""Lifecycle actions in memory, on the loop's clock."""

import asyncio
import dataclasses
import datetime as dt

from queue_processor.controller import ports
from queue_processor.domain import errors
from queue_processor.domain.events import LifecycleAction, LifecycleHook


@dataclasses.dataclass(slots=True)
class ActionRecord:
    """What happened to one lifecycle action; moments of the loop's clock."""

    expires_at: float
    heartbeats: list[float] = dataclasses.field(default_factory=list)
    completed_at: dt.datetime | None = None
    completions: int = 0


class FakeLifecycle:
    """The actions of all groups, by instance."""

    def __init__(self, *, clock: ports.Clock, heartbeat_timeout: float = 3600.0) -> None:
        self._clock = clock
        self._timeout = dt.timedelta(seconds=heartbeat_timeout)
        self.records: dict[str, ActionRecord] = {}
        self.failures: dict[str, list[Exception]] = {}
        self.asked_for_hooks = 0

    def begin(self, instance_id: str) -> None:
        """Put an instance on hold."""
        now = asyncio.get_running_loop().time()
        self.records[instance_id] = ActionRecord(now + self._timeout.total_seconds())

    def fail(self, call: str, *faults: Exception) -> None:
        """Let the next calls (`complete`, `heartbeat`, `heartbeat_timeout`) fail."""
        self.failures.setdefault(call, []).extend(faults)

    async def complete(self, action: LifecycleAction) -> None:
        self._raise_if_failing("complete")
        record = self.records[action.instance_id]
        record.completions += 1
        if record.completed_at is None:
            record.completed_at = self._clock()

    async def heartbeat(self, action: LifecycleAction) -> None:
        self._raise_if_failing("heartbeat")
        record = self.records[action.instance_id]
        now = asyncio.get_running_loop().time()
        if record.completed_at is not None or now > record.expires_at:
            raise errors.NotFound("No active Lifecycle Action found")
        record.heartbeats.append(now)
        record.expires_at = now + self._timeout.total_seconds()

    async def heartbeat_timeout(self, hook: LifecycleHook) -> dt.timedelta:
        del hook
        self.asked_for_hooks += 1
        self._raise_if_failing("heartbeat_timeout")
        return self._timeout

    def _raise_if_failing(self, call: str) -> None:
        faults = self.failures.get(call)
        if faults:
            raise faults.pop(0)
