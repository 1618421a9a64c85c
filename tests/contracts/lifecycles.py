"""A group with a lifecycle hook: in memory, and on the simulated AWS through boto3."""

import datetime as dt
import uuid
from typing import Protocol

from queue_processor.adapters.aws.autoscaling import AutoScalingLifecycle
from queue_processor.adapters.aws.clients import DaemonExecutor
from queue_processor.controller import ports
from queue_processor.domain.events import LifecycleAction, LifecycleHook, LifecycleTransition
from queue_processor.domain.identifiers import InstanceId
from queue_processor.simulator.aws import lifecycle, simulator
from queue_processor.simulator.kube import clock
from tests.fakes.autoscaling import HOOK, FakeLifecycle

TIMEOUT = dt.timedelta(minutes=10)
_START = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)


class Group(Protocol):
    """A group, with what a test of the contract needs besides the port."""

    @property
    def lifecycle(self) -> ports.LifecycleActions:
        """The actions as the program sees them."""

    def begin(self) -> LifecycleAction:
        """Put an instance on hold."""

    def is_held(self, action: LifecycleAction) -> bool:
        """Return whether the group still waits."""

    def expires_at(self, action: LifecycleAction) -> float:
        """The time at which the group stops waiting by itself."""

    def asked_for_hooks(self) -> int:
        """The number of reads of the hook."""

    def join(self, **tags: str) -> InstanceId:
        """Add an instance to the group, and tags."""

    def remove(self) -> None:
        """Delete the group with its hook."""


def _action(instance_id: str, token: str | None) -> LifecycleAction:
    return LifecycleAction(
        hook=HOOK,
        transition=LifecycleTransition.TERMINATING,
        instance_id=InstanceId(instance_id),
        token=token,
    )


class FakeGroup:
    """The fake."""

    def __init__(self) -> None:
        self._kept = FakeLifecycle(
            clock=clock.LoopClock(_START), heartbeat_timeout=TIMEOUT.total_seconds()
        )
        self.lifecycle: ports.LifecycleActions = self._kept

    def begin(self) -> LifecycleAction:
        instance_id = f"i-{len(self._kept.records):017x}"
        self._kept.begin(instance_id)
        return _action(instance_id, str(uuid.uuid4()))

    def is_held(self, action: LifecycleAction) -> bool:
        return not self._kept.records[action.instance_id].is_over

    def expires_at(self, action: LifecycleAction) -> float:
        return self._kept.records[action.instance_id].expires_at

    def asked_for_hooks(self) -> int:
        return self._kept.asked_for_hooks

    def join(self, **tags: str) -> InstanceId:
        instance_id = InstanceId("i-00000000000000011")
        self._kept.add_group(HOOK.group, instance_id, **tags)
        return instance_id

    def remove(self) -> None:
        self._kept.hook = None
        self._kept.groups.clear()
        self._kept.records.clear()


class SimulatedGroup:
    """The adapter, against the simulator."""

    def __init__(self, aws: simulator.AwsSimulator) -> None:
        self._aws = aws
        self._client = aws.session.client("autoscaling", endpoint_url=aws.endpoint_url)
        self._asked = 0
        events = self._client.meta.events
        events.register("before-send.auto-scaling.DescribeLifecycleHooks", self._count)
        self.lifecycle: ports.LifecycleActions = AutoScalingLifecycle(
            self._client, threads=DaemonExecutor(4, name="aws")
        )
        self._instance_ids = iter(aws.launch(3))
        hook = lifecycle.SimulatedLifecycleHook(
            HOOK.group, HOOK.name, LifecycleTransition.TERMINATING, heartbeat_timeout=TIMEOUT
        )
        aws.create_auto_scaling_group(HOOK.group, (), [hook])

    def close(self) -> None:
        self._client.close()

    def _count(self, **_: object) -> None:
        self._asked += 1

    def begin(self) -> LifecycleAction:
        instance_id = next(self._instance_ids)
        self._client.attach_instances(AutoScalingGroupName=HOOK.group, InstanceIds=[instance_id])
        return _action(instance_id, self._aws.terminate_in_group(instance_id).token)

    def is_held(self, action: LifecycleAction) -> bool:
        return self._of(action).is_active

    def expires_at(self, action: LifecycleAction) -> float:
        return self._of(action).expires_at.timestamp()

    def asked_for_hooks(self) -> int:
        return self._asked

    def join(self, **tags: str) -> InstanceId:
        instance_id = next(self._instance_ids)
        self._client.attach_instances(AutoScalingGroupName=HOOK.group, InstanceIds=[instance_id])
        self._client.create_or_update_tags(
            Tags=[
                {
                    "ResourceId": HOOK.group,
                    "ResourceType": "auto-scaling-group",
                    "Key": key,
                    "Value": value,
                    "PropagateAtLaunch": False,
                }
                for key, value in tags.items()
            ]
        )
        return InstanceId(instance_id)

    def remove(self) -> None:
        # Auto Scaling deletes the hooks of a group with it, moto does not.
        self._client.delete_lifecycle_hook(
            AutoScalingGroupName=HOOK.group, LifecycleHookName=HOOK.name
        )
        self._client.delete_auto_scaling_group(AutoScalingGroupName=HOOK.group, ForceDelete=True)

    def _of(self, action: LifecycleAction) -> lifecycle.SimulatedLifecycleAction:
        (match,) = (each for each in self._aws.lifecycle_actions() if each.token == action.token)
        return match


def other_hook() -> LifecycleHook:
    """A hook that the group does not have."""
    return LifecycleHook(group=HOOK.group, name="another")
