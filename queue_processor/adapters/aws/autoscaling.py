"""Auto Scaling groups and their lifecycle actions."""

import asyncio
import concurrent.futures
import dataclasses
import datetime as dt
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from queue_processor.adapters.aws import errors as aws_errors
from queue_processor.domain import errors
from queue_processor.domain.events import (
    AutoScalingGroup,
    LifecycleAction,
    LifecycleHook,
    LifecycleTransition,
)
from queue_processor.domain.identifiers import InstanceId

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient
    from types_boto3_autoscaling.type_defs import AutoScalingGroupTypeDef

_log = structlog.get_logger(__name__)

# Somebody may change a hook while the program runs.
_HOOK_TIME_TO_LIVE = dt.timedelta(minutes=5)
# A group that scales in ends many instances within seconds.
_GROUP_TIME_TO_LIVE = dt.timedelta(seconds=30)

_Key = TypeVar("_Key", bound=Hashable)
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HookConfiguration:
    """A lifecycle hook as its group has it.

    Attributes:
        has_target: It sends its notifications to a queue or a topic, too, not to EventBridge alone.
    """

    hook: LifecycleHook
    transition: LifecycleTransition
    heartbeat_timeout: dt.timedelta
    has_target: bool


class _Lookups(Generic[_Key, _Result]):
    """Shares each lookup, and its answer, among all that need it within some time.

    A waiter that gives up does not stop the lookup, and an error is no answer to keep.
    """

    def __init__(
        self, look_up: Callable[[_Key], Awaitable[_Result]], *, time_to_live: dt.timedelta
    ) -> None:
        self._look_up = look_up
        self._seconds = time_to_live.total_seconds()
        self._lookups: dict[_Key, tuple[float, asyncio.Task[_Result]]] = {}

    async def get(self, key: _Key) -> _Result:
        """Return the answer for a key; raise what its lookup raises."""
        now = asyncio.get_running_loop().time()
        self._lookups = {
            each: (until, lookup)
            for each, (until, lookup) in self._lookups.items()
            if now < until and not _has_failed(lookup)
        }
        if key not in self._lookups:
            lookup = asyncio.create_task(self._run(key), name=f"look up {key}")
            self._lookups[key] = (now + self._seconds, lookup)
        return await asyncio.shield(self._lookups[key][1])

    async def _run(self, key: _Key) -> _Result:
        return await self._look_up(key)


def _has_failed(task: "asyncio.Task[_Result]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


class AutoScalingLifecycle:
    """Completes lifecycle actions, keeps them alive, and reads their hooks and groups."""

    def __init__(
        self, client: "AutoScalingClient", *, threads: concurrent.futures.Executor
    ) -> None:
        self._client = client
        self._threads = threads
        self._timeouts = _Lookups(self._timeout_of, time_to_live=_HOOK_TIME_TO_LIVE)
        self._groups = _Lookups(self._group_of, time_to_live=_GROUP_TIME_TO_LIVE)

    async def complete(self, action: LifecycleAction) -> None:
        try:
            await self._call("complete lifecycle action", lambda: self._complete(action))
        except errors.NotFound as over:
            _log.info(
                "lifecycle_action_already_ended", instance_id=action.instance_id, response=str(over)
            )

    async def heartbeat(self, action: LifecycleAction) -> None:
        await self._call("record heartbeat", lambda: self._heartbeat(action))

    async def heartbeat_timeout(self, hook: LifecycleHook) -> dt.timedelta:
        return await self._timeouts.get(hook)

    async def _timeout_of(self, hook: LifecycleHook) -> dt.timedelta:
        return await self._call("read lifecycle hook", lambda: self._read(hook))

    async def group(self, name: str) -> AutoScalingGroup:
        return await self._groups.get(name)

    async def _group_of(self, name: str) -> AutoScalingGroup:
        return await self._call("read Auto Scaling group", lambda: self._describe(name))

    async def _call(self, name: str, function: Callable[[], _Result]) -> _Result:
        with aws_errors.translated(name):
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    # In threads.

    def _complete(self, action: LifecycleAction) -> None:
        token = {} if action.token is None else {"LifecycleActionToken": action.token}
        self._client.complete_lifecycle_action(
            AutoScalingGroupName=action.hook.group,
            LifecycleHookName=action.hook.name,
            # With a terminating hook, ABANDON skips the hooks that follow and may retain the
            # instance.
            # https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CompleteLifecycleAction.html
            LifecycleActionResult="CONTINUE",
            InstanceId=action.instance_id,
            **token,
        )

    def _heartbeat(self, action: LifecycleAction) -> None:
        token = {} if action.token is None else {"LifecycleActionToken": action.token}
        self._client.record_lifecycle_action_heartbeat(
            AutoScalingGroupName=action.hook.group,
            LifecycleHookName=action.hook.name,
            InstanceId=action.instance_id,
            **token,
        )

    def _read(self, hook: LifecycleHook) -> dt.timedelta:
        hooks = self._client.describe_lifecycle_hooks(
            AutoScalingGroupName=hook.group, LifecycleHookNames=[hook.name]
        )["LifecycleHooks"]
        if not hooks:
            raise errors.NotFound(f"group {hook.group} has no lifecycle hook {hook.name}")
        return dt.timedelta(seconds=hooks[0]["HeartbeatTimeout"])

    def _describe(self, name: str) -> AutoScalingGroup:
        groups = self._client.describe_auto_scaling_groups(AutoScalingGroupNames=[name])[
            "AutoScalingGroups"
        ]
        if not groups:
            raise errors.NotFound(f"there is no Auto Scaling group {name}")
        return _group(groups[0])


def all_groups(client: "AutoScalingClient") -> Sequence[AutoScalingGroup]:
    """Return every group of the account and Region.

    Raises:
        Forbidden: The permission is missing.
        TemporaryError: Auto Scaling does not answer.
    """
    with aws_errors.needs_permission("autoscaling:DescribeAutoScalingGroups", "all groups"):
        pages = client.get_paginator("describe_auto_scaling_groups").paginate()
        return [_group(group) for page in pages for group in page["AutoScalingGroups"]]


def hooks_of(client: "AutoScalingClient", group: str) -> Sequence[HookConfiguration]:
    """Return the lifecycle hooks of a group; raises as `all_groups` does."""
    with aws_errors.needs_permission("autoscaling:DescribeLifecycleHooks", group):
        hooks = client.describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"]
        return [
            HookConfiguration(
                hook=LifecycleHook(group=group, name=hook["LifecycleHookName"]),
                transition=LifecycleTransition(hook["LifecycleTransition"]),
                heartbeat_timeout=dt.timedelta(seconds=hook["HeartbeatTimeout"]),
                has_target=bool(hook.get("NotificationTargetARN")),
            )
            for hook in hooks
        ]


def _group(described: "AutoScalingGroupTypeDef") -> AutoScalingGroup:
    return AutoScalingGroup(
        name=described["AutoScalingGroupName"],
        instance_ids=frozenset(
            InstanceId(instance["InstanceId"]) for instance in described.get("Instances", ())
        ),
        tags={tag["Key"]: tag.get("Value", "") for tag in described.get("Tags", ())},
    )
