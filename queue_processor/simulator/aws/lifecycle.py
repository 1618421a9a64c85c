"""Lifecycle actions of Auto Scaling: begun, kept alive, completed, expired.

https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html
"""

import contextlib
import dataclasses
import datetime as dt
import enum
import threading
import uuid
from collections.abc import Callable, Iterator

from queue_processor.domain.events import LifecycleTransition

_LONGEST_GLOBAL_TIMEOUT = dt.timedelta(hours=48)
_HEARTBEATS_TO_GLOBAL_TIMEOUT = 100


class LifecycleActionResult(enum.Enum):
    """Results of a lifecycle action."""

    CONTINUE = "CONTINUE"
    ABANDON = "ABANDON"


class LifecycleActionEnding(enum.Enum):
    """Reasons why a lifecycle action ended."""

    COMPLETED = "completed"
    EXPIRED = "expired"


class NoActiveActionError(LookupError):
    """There is no such lifecycle action, or it has ended. The text is that of AWS."""


@dataclasses.dataclass(frozen=True)
class SimulatedLifecycleHook:
    """A lifecycle hook of a group.

    Attributes:
        group: The name of the Auto Scaling group.
        name: The name of the hook in the group.
        transition: What it holds back.
        heartbeat_timeout: How long an action waits without a heartbeat. AWS takes 30 seconds to
            2 hours; the simulator takes any, so that a test need not wait.
        default_result: How the group goes on when the action expires.
        metadata: The NotificationMetadata, sent along with each action.
    """

    group: str
    name: str
    transition: LifecycleTransition
    heartbeat_timeout: dt.timedelta = dt.timedelta(hours=1)
    default_result: LifecycleActionResult = LifecycleActionResult.ABANDON
    metadata: str | None = None

    @property
    def global_timeout(self) -> dt.timedelta:
        """Return the longest time that an action lasts, whatever the heartbeats."""
        return min(_LONGEST_GLOBAL_TIMEOUT, _HEARTBEATS_TO_GLOBAL_TIMEOUT * self.heartbeat_timeout)


@dataclasses.dataclass(frozen=True)
class SimulatedLifecycleAction:
    """One instance that waits, or waited, at one hook.

    Attributes:
        hook: The hook it waits at.
        instance_id: The instance that waits.
        token: The LifecycleActionToken.
        started_at: When it began.
        expires_at: When it ends by itself unless a heartbeat comes.
        heartbeats: When heartbeats came.
        completed_at: When it ended, None while it is active.
        result: How the group went on.
        ending: How it ended.
    """

    hook: SimulatedLifecycleHook
    instance_id: str
    token: str
    started_at: dt.datetime
    expires_at: dt.datetime
    heartbeats: tuple[dt.datetime, ...] = ()
    completed_at: dt.datetime | None = None
    result: LifecycleActionResult | None = None
    ending: LifecycleActionEnding | None = None

    @property
    def is_active(self) -> bool:
        """True while the instance waits."""
        return self.ending is None


@dataclasses.dataclass(frozen=True)
class ActionKey:
    """The key of a lifecycle action: its token, or else its instance id."""

    group: str
    hook: str
    token: str | None = None
    instance_id: str | None = None

    def names(self, action: SimulatedLifecycleAction) -> bool:
        """Return True if this is the action that the caller means."""
        if (action.hook.group, action.hook.name) != (self.group, self.hook):
            return False
        if self.token is not None:
            return action.token == self.token
        return action.instance_id == self.instance_id

    def __str__(self) -> str:
        if self.token is not None:
            return f"token {self.token}"
        return f"instance ID {self.instance_id}"


class SimulatedLifecycleActions:
    """All lifecycle actions, and a thread that ends those whose time has run out."""

    def __init__(self, on_end: Callable[[SimulatedLifecycleAction], None]) -> None:
        """Keep actions, and call `on_end` with each that ended, in the thread that ended it."""
        self._on_end = on_end
        self._changed = threading.Condition()
        self._actions: dict[str, SimulatedLifecycleAction] = {}
        self._is_stopped = False

    @contextlib.contextmanager
    def expiring(self) -> Iterator[None]:
        """Let actions expire for as long as this lasts."""
        self._is_stopped = False
        thread = threading.Thread(target=self._expire_forever, name="lifecycle", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._is_stopped = True
                self._changed.notify_all()
            thread.join()

    def clear(self) -> None:
        """Forget every action."""
        with self._changed:
            self._actions.clear()

    def begin(self, hook: SimulatedLifecycleHook, instance_id: str) -> SimulatedLifecycleAction:
        """Let an instance wait at a hook."""
        now = dt.datetime.now(tz=dt.UTC)
        action = SimulatedLifecycleAction(
            hook=hook,
            instance_id=instance_id,
            token=str(uuid.uuid4()),
            started_at=now,
            expires_at=now + hook.heartbeat_timeout,
        )
        with self._changed:
            self._actions[action.token] = action
            self._changed.notify_all()
        return action

    def heartbeat(self, key: ActionKey) -> SimulatedLifecycleAction:
        """Give an action another heartbeat timeout from now on, up to its global timeout.

        Raises:
            NoActiveActionError: There is none, or it has ended.
        """
        now = dt.datetime.now(tz=dt.UTC)
        with self._changed:
            action = self._find_active(key, now)
            extended = dataclasses.replace(
                action,
                heartbeats=(*action.heartbeats, now),
                expires_at=min(
                    now + action.hook.heartbeat_timeout,
                    action.started_at + action.hook.global_timeout,
                ),
            )
            self._actions[action.token] = extended
            self._changed.notify_all()
        return extended

    def complete(self, key: ActionKey, result: LifecycleActionResult) -> SimulatedLifecycleAction:
        """End an action.

        Raises:
            NoActiveActionError: There is none, or it has ended.
        """
        now = dt.datetime.now(tz=dt.UTC)
        with self._changed:
            action = self._find_active(key, now)
            ended = self._end(action, now, result, LifecycleActionEnding.COMPLETED)
        self._on_end(ended)
        return ended

    def all(self) -> tuple[SimulatedLifecycleAction, ...]:
        """Every action that ever began, in that order."""
        with self._changed:
            return tuple(self._actions.values())

    def active(self, instance_id: str) -> SimulatedLifecycleAction:
        """Return the action that holds an instance back.

        Raises:
            NoActiveActionError: There is none.
        """
        for action in self.all():
            if action.is_active and action.instance_id == instance_id:
                return action
        raise NoActiveActionError(
            f"No active Lifecycle Action found with instance ID {instance_id}"
        )

    def _find_active(self, key: ActionKey, now: dt.datetime) -> SimulatedLifecycleAction:
        for action in self._actions.values():
            if action.is_active and action.expires_at > now and key.names(action):
                return action
        raise NoActiveActionError(f"No active Lifecycle Action found with {key}")

    def _end(
        self,
        action: SimulatedLifecycleAction,
        now: dt.datetime,
        result: LifecycleActionResult,
        ending: LifecycleActionEnding,
    ) -> SimulatedLifecycleAction:
        ended = dataclasses.replace(action, completed_at=now, result=result, ending=ending)
        self._actions[action.token] = ended
        return ended

    def _expire_forever(self) -> None:
        while True:
            with self._changed:
                if self._is_stopped:
                    return
                now = dt.datetime.now(tz=dt.UTC)
                active = [action for action in self._actions.values() if action.is_active]
                expired = [
                    self._end(
                        action, now, action.hook.default_result, LifecycleActionEnding.EXPIRED
                    )
                    for action in active
                    if action.expires_at <= now
                ]
                if not expired:
                    waits = [(action.expires_at - now).total_seconds() for action in active]
                    self._changed.wait(min(waits, default=None))
            for action in expired:
                self._on_end(action)
