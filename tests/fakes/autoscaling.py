"""Lifecycle actions in memory, on the loop's clock."""

import asyncio
import dataclasses
import datetime as dt

from queue_processor.controller import ports
from queue_processor.domain import errors
from queue_processor.domain.events import AutoScalingGroup, LifecycleAction, LifecycleHook
from queue_processor.domain.identifiers import InstanceId

HOOK = LifecycleHook(group="workers", name="drain")


@dataclasses.dataclass(slots=True)
class ActionRecord:
    """The history of one lifecycle action; times are those of the loop's clock."""

    expires_at: float
    heartbeats: list[float] = dataclasses.field(default_factory=list)
    completed_at: dt.datetime | None = None
    completions: int = 0

    @property
    def is_over(self) -> bool:
        """True after its completion, or when its time ran out."""
        return self.completed_at is not None or asyncio.get_running_loop().time() >= self.expires_at


class FakeLifecycle:
    """The actions of one hook, by instance.

    Attributes:
        hook: The one that there is; None when its group is gone.
        asked_for_hooks: How often the hook was read.
        groups: The groups that there are; the one of the hook has no instances at first.
        asked_for_groups: How often a group was read.
        never_answers_for_groups: True while a request for a group hangs.
    """

    def __init__(self, *, clock: ports.Clock, heartbeat_timeout: float = 3600.0) -> None:
        self._clock = clock
        self._timeout = dt.timedelta(seconds=heartbeat_timeout)
        self._is_known = False
        self.hook: LifecycleHook | None = HOOK
        self.records: dict[str, ActionRecord] = {}
        self.failures: dict[str, list[Exception]] = {}
        self.asked_for_hooks = 0
        self.groups: dict[str, AutoScalingGroup] = {}
        self.add_group(HOOK.group)
        self.asked_for_groups = 0
        self.never_answers_for_groups = False

    def begin(self, instance_id: str) -> None:
        """Put an instance on hold."""
        now = asyncio.get_running_loop().time()
        self.records[instance_id] = ActionRecord(now + self._timeout.total_seconds())

    def add_group(self, name: str, *instance_ids: InstanceId, **tags: str) -> None:
        """Create a group, or replace it."""
        self.groups[name] = AutoScalingGroup(
            name=name, instance_ids=frozenset(instance_ids), tags=tags
        )

    def fail(self, call: str, *faults: Exception) -> None:
        """Let the next calls (`complete`, `heartbeat`, `heartbeat_timeout`, `group`) fail."""
        self.failures.setdefault(call, []).extend(faults)

    async def complete(self, action: LifecycleAction) -> None:
        self._raise_if_failing("complete")
        record = self.records.get(action.instance_id)
        if record is None:
            return
        record.completions += 1
        if not record.is_over:
            record.completed_at = self._clock()

    async def heartbeat(self, action: LifecycleAction) -> None:
        self._raise_if_failing("heartbeat")
        record = self.records.get(action.instance_id)
        if record is None or record.is_over:
            raise errors.NotFound("No active Lifecycle Action found")
        now = asyncio.get_running_loop().time()
        record.heartbeats.append(now)
        record.expires_at = now + self._timeout.total_seconds()

    async def heartbeat_timeout(self, hook: LifecycleHook) -> dt.timedelta:
        if self._is_known and hook == HOOK:
            return self._timeout
        self.asked_for_hooks += 1
        self._raise_if_failing("heartbeat_timeout")
        if hook != self.hook:
            raise errors.NotFound(f"group {hook.group} has no lifecycle hook {hook.name}")
        self._is_known = True
        return self._timeout

    async def group(self, name: str) -> AutoScalingGroup:
        self.asked_for_groups += 1
        self._raise_if_failing("group")
        if self.never_answers_for_groups:
            await asyncio.Event().wait()
        if name not in self.groups:
            raise errors.NotFound(f"there is no Auto Scaling group {name}")
        return self.groups[name]

    def _raise_if_failing(self, call: str) -> None:
        faults = self.failures.get(call)
        if faults:
            raise faults.pop(0)
