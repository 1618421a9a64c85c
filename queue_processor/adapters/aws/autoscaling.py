"""Lifecycle actions of Auto Scaling groups."""

import asyncio
import concurrent.futures
import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import structlog

from queue_processor.adapters.aws import errors as aws_errors
from queue_processor.domain import errors
from queue_processor.domain.events import LifecycleAction, LifecycleHook

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient

_log = structlog.get_logger(__name__)

_Result = TypeVar("_Result")


class AutoScalingLifecycle:
    """Completes lifecycle actions and keeps them alive."""

    def __init__(
        self, client: "AutoScalingClient", *, threads: concurrent.futures.Executor
    ) -> None:
        self._client = client
        self._threads = threads
        self._timeouts: dict[LifecycleHook, asyncio.Task[dt.timedelta]] = {}

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
        lookup = self._timeouts.get(hook)
        if lookup is None:
            lookup = asyncio.create_task(self._look_up(hook), name=f"read hook {hook.name}")
            self._timeouts[hook] = lookup
        try:
            return await asyncio.shield(lookup)
        except errors.QueueProcessorError:
            self._timeouts.pop(hook, None)
            raise

    async def _look_up(self, hook: LifecycleHook) -> dt.timedelta:
        return await self._call("read lifecycle hook", lambda: self._read(hook))

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
