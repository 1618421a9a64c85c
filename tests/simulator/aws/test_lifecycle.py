import datetime as dt
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from botocore import exceptions

from queue_processor.domain.events import LifecycleTransition
from queue_processor.simulator.aws import lifecycle, simulator

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient

    from tests.simulator.aws.conftest import Queue

TERMINATING = LifecycleTransition.TERMINATING
LAUNCHING = LifecycleTransition.LAUNCHING
CONTINUE = lifecycle.LifecycleActionResult.CONTINUE
ABANDON = lifecycle.LifecycleActionResult.ABANDON

GroupOf = Callable[..., str]


@pytest.fixture
def group_of(aws: simulator.AwsSimulator) -> GroupOf:
    """Make the group ``workers`` of one instance, with hooks; return the id of the instance."""

    def make(*hooks: lifecycle.SimulatedLifecycleHook) -> str:
        (instance_id,) = aws.launch(1)
        aws.create_auto_scaling_group("workers", [instance_id], hooks)
        return instance_id

    return make


def hook(
    name: str = "drain", transition: LifecycleTransition = TERMINATING, seconds: float = 3600
) -> lifecycle.SimulatedLifecycleHook:
    return lifecycle.SimulatedLifecycleHook(
        "workers", name, transition, heartbeat_timeout=dt.timedelta(seconds=seconds)
    )


def names(**keys: str) -> dict[str, Any]:
    return {"AutoScalingGroupName": "workers", "LifecycleHookName": "drain", **keys}


def wait_until(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


class TestTermination:
    def test_a_hook_holds_up_an_instance_that_leaves_its_group(
        self, aws: simulator.AwsSimulator, autoscaling: "AutoScalingClient", group_of: GroupOf
    ) -> None:
        instance_id = group_of(hook())

        action = aws.terminate_in_group(instance_id)

        assert action.is_active
        assert action.expires_at - action.started_at == dt.timedelta(hours=1)
        answer = autoscaling.describe_auto_scaling_instances(InstanceIds=[instance_id])
        assert answer["AutoScalingInstances"][0]["LifecycleState"] == "Terminating:Wait"

    def test_the_event_names_the_action_and_where_the_instance_goes(
        self, aws: simulator.AwsSimulator, group_of: GroupOf
    ) -> None:
        stack = aws.deploy()
        instance_id = group_of(hook())

        action = aws.terminate_in_group(instance_id)

        (message,) = aws.contents(stack.queue_url)
        assert json.loads(message.body)["detail"] == {
            "LifecycleActionToken": action.token,
            "AutoScalingGroupName": "workers",
            "LifecycleHookName": "drain",
            "EC2InstanceId": instance_id,
            "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
            "Origin": "AutoScalingGroup",
            "Destination": "EC2",
        }

    @pytest.mark.parametrize("result", ["CONTINUE", "ABANDON"])
    def test_a_completed_action_lets_the_instance_go(
        self,
        aws: simulator.AwsSimulator,
        autoscaling: "AutoScalingClient",
        group_of: GroupOf,
        result: str,
    ) -> None:
        instance_id = group_of(hook())
        token = aws.terminate_in_group(instance_id).token

        autoscaling.complete_lifecycle_action(
            **names(LifecycleActionToken=token, LifecycleActionResult=result)
        )

        (action,) = aws.lifecycle_actions()
        assert (action.result, action.ending) == (
            lifecycle.LifecycleActionResult(result),
            lifecycle.LifecycleActionEnding.COMPLETED,
        )
        assert aws.lifecycle_state(instance_id) is None
        assert instance_state(aws, instance_id) == "terminated"

    def test_the_capacity_of_the_group_goes_down(
        self, autoscaling: "AutoScalingClient", group_of: GroupOf
    ) -> None:
        instance_id = group_of(hook())

        autoscaling.terminate_instance_in_auto_scaling_group(
            InstanceId=instance_id, ShouldDecrementDesiredCapacity=True
        )
        autoscaling.complete_lifecycle_action(
            **names(InstanceId=instance_id, LifecycleActionResult="CONTINUE")
        )

        (group,) = autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
        assert (group["DesiredCapacity"], group["Instances"]) == (0, [])

    def test_terminating_twice_is_one_action(
        self, aws: simulator.AwsSimulator, group_of: GroupOf
    ) -> None:
        instance_id = group_of(hook())

        first = aws.terminate_in_group(instance_id)

        assert aws.terminate_in_group(instance_id) == first
        assert aws.lifecycle_actions() == (first,)

    def test_hooks_hold_an_instance_up_one_after_the_other(
        self, aws: simulator.AwsSimulator, autoscaling: "AutoScalingClient", group_of: GroupOf
    ) -> None:
        instance_id = group_of(hook("drain"), hook("export"))
        aws.terminate_in_group(instance_id)

        autoscaling.complete_lifecycle_action(
            **names(InstanceId=instance_id, LifecycleActionResult="CONTINUE")
        )

        assert [action.hook.name for action in aws.lifecycle_actions()] == ["drain", "export"]
        assert aws.lifecycle_state(instance_id) == "Terminating:Wait"

    def test_abandoning_skips_the_remaining_hooks(
        self, aws: simulator.AwsSimulator, autoscaling: "AutoScalingClient", group_of: GroupOf
    ) -> None:
        instance_id = group_of(hook("drain"), hook("export"))
        aws.terminate_in_group(instance_id)

        autoscaling.complete_lifecycle_action(
            **names(InstanceId=instance_id, LifecycleActionResult="ABANDON")
        )

        assert len(aws.lifecycle_actions()) == 1
        assert aws.lifecycle_state(instance_id) is None

    def test_without_a_hook_nothing_holds_an_instance_up(
        self, aws: simulator.AwsSimulator, autoscaling: "AutoScalingClient", group_of: GroupOf
    ) -> None:
        instance_id = group_of()

        with pytest.raises(LookupError, match="No hook"):
            aws.terminate_in_group(instance_id)
        autoscaling.terminate_instance_in_auto_scaling_group(
            InstanceId=instance_id, ShouldDecrementDesiredCapacity=True
        )

        assert aws.lifecycle_state(instance_id) is None


class TestLaunch:
    def test_a_new_instance_waits_until_the_action_is_completed(
        self, aws: simulator.AwsSimulator, autoscaling: "AutoScalingClient", group_of: GroupOf
    ) -> None:
        stack = aws.deploy()
        group_of(hook(transition=LAUNCHING))

        instance_id = aws.launch_in_group("workers")

        assert aws.lifecycle_state(instance_id) == "Pending:Wait"
        (message,) = aws.contents(stack.queue_url)
        assert json.loads(message.body)["detail-type"] == "EC2 Instance-launch Lifecycle Action"
        autoscaling.complete_lifecycle_action(
            **names(InstanceId=instance_id, LifecycleActionResult="CONTINUE")
        )
        assert aws.lifecycle_state(instance_id) == "InService"

    def test_an_abandoned_launch_terminates_the_instance(
        self, aws: simulator.AwsSimulator, autoscaling: "AutoScalingClient", group_of: GroupOf
    ) -> None:
        group_of(hook(transition=LAUNCHING))
        instance_id = aws.launch_in_group("workers")

        autoscaling.complete_lifecycle_action(
            **names(InstanceId=instance_id, LifecycleActionResult="ABANDON")
        )

        assert instance_state(aws, instance_id) == "terminated"

    def test_without_a_hook_an_instance_is_in_service_at_once(
        self, aws: simulator.AwsSimulator, group_of: GroupOf
    ) -> None:
        group_of(hook(transition=TERMINATING))

        assert aws.lifecycle_state(aws.launch_in_group("workers")) == "InService"


class TestHeartbeat:
    def test_a_heartbeat_gives_an_action_another_timeout(
        self, aws: simulator.AwsSimulator, autoscaling: "AutoScalingClient", group_of: GroupOf
    ) -> None:
        instance_id = group_of(hook())
        began = aws.terminate_in_group(instance_id)

        autoscaling.record_lifecycle_action_heartbeat(**names(InstanceId=instance_id))
        autoscaling.record_lifecycle_action_heartbeat(**names(LifecycleActionToken=began.token))

        (action,) = aws.lifecycle_actions()
        assert len(action.heartbeats) == 2
        assert action.expires_at == action.heartbeats[-1] + dt.timedelta(hours=1)

    def test_no_heartbeat_reaches_past_the_global_timeout(
        self, aws: simulator.AwsSimulator, autoscaling: "AutoScalingClient", group_of: GroupOf
    ) -> None:
        instance_id = group_of(hook(seconds=2 * 48 * 3600))
        aws.terminate_in_group(instance_id)

        autoscaling.record_lifecycle_action_heartbeat(**names(InstanceId=instance_id))

        (action,) = aws.lifecycle_actions()
        assert action.expires_at - action.started_at == dt.timedelta(hours=48)

    def test_an_action_without_a_heartbeat_ends_with_the_result_of_its_hook(
        self, aws: simulator.AwsSimulator, autoscaling: "AutoScalingClient", group_of: GroupOf
    ) -> None:
        instance_id = group_of(hook(seconds=1))
        aws.terminate_in_group(instance_id)

        wait_until(lambda: not aws.lifecycle_actions()[0].is_active)

        (action,) = aws.lifecycle_actions()
        assert (action.result, action.ending) == (ABANDON, lifecycle.LifecycleActionEnding.EXPIRED)
        wait_until(lambda: aws.lifecycle_state(instance_id) is None)
        with pytest.raises(exceptions.ClientError, match="No active Lifecycle Action"):
            autoscaling.record_lifecycle_action_heartbeat(**names(InstanceId=instance_id))


class TestErrors:
    def test_completing_twice_is_a_validation_error(
        self, aws: simulator.AwsSimulator, autoscaling: "AutoScalingClient", group_of: GroupOf
    ) -> None:
        instance_id = group_of(hook())
        aws.terminate_in_group(instance_id)
        request = names(InstanceId=instance_id, LifecycleActionResult="CONTINUE")
        autoscaling.complete_lifecycle_action(**request)

        with pytest.raises(exceptions.ClientError) as failure:
            autoscaling.complete_lifecycle_action(**request)

        answer = failure.value.response
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert answer["Error"]["Code"] == "ValidationError"
        assert answer["Error"]["Message"] == (
            f"No active Lifecycle Action found with instance ID {instance_id}"
        )

    def test_an_unknown_token_is_named_in_the_error(
        self, aws: simulator.AwsSimulator, autoscaling: "AutoScalingClient", group_of: GroupOf
    ) -> None:
        instance_id = group_of(hook())
        aws.terminate_in_group(instance_id)

        with pytest.raises(exceptions.ClientError, match="found with token made-up"):
            autoscaling.complete_lifecycle_action(
                **names(
                    InstanceId=instance_id,
                    LifecycleActionToken="made-up-made-up-made-up-made-up-made",
                    LifecycleActionResult="CONTINUE",
                )
            )

        assert aws.lifecycle_actions()[0].is_active

    def test_a_result_that_is_neither_of_the_two_is_refused(
        self, aws: simulator.AwsSimulator, autoscaling: "AutoScalingClient", group_of: GroupOf
    ) -> None:
        instance_id = group_of(hook())
        aws.terminate_in_group(instance_id)

        with pytest.raises(exceptions.ClientError, match="Result is invalid"):
            autoscaling.complete_lifecycle_action(
                **names(InstanceId=instance_id, LifecycleActionResult="GO")
            )


class TestHooks:
    def test_a_hook_tells_its_own_timeouts_and_target(
        self, autoscaling: "AutoScalingClient", group_of: GroupOf, queue: "Queue"
    ) -> None:
        group_of()

        autoscaling.put_lifecycle_hook(
            AutoScalingGroupName="workers",
            LifecycleHookName="drain",
            LifecycleTransition=TERMINATING.value,
            HeartbeatTimeout=300,
            NotificationTargetARN=queue.arn,
            RoleARN="arn:aws:iam::123456789012:role/notify",
            NotificationMetadata="by hand",
        )

        answer = autoscaling.describe_lifecycle_hooks(AutoScalingGroupName="workers")
        (described,) = answer["LifecycleHooks"]
        assert (described["HeartbeatTimeout"], described["GlobalTimeout"]) == (300, 30_000)
        assert described["NotificationTargetARN"] == queue.arn
        assert described["NotificationMetadata"] == "by hand"

    def test_a_hook_with_a_target_notifies_it_without_eventbridge(
        self,
        aws: simulator.AwsSimulator,
        autoscaling: "AutoScalingClient",
        group_of: GroupOf,
        queue: "Queue",
    ) -> None:
        instance_id = group_of()
        autoscaling.put_lifecycle_hook(
            AutoScalingGroupName="workers",
            LifecycleHookName="drain",
            LifecycleTransition=TERMINATING.value,
            NotificationTargetARN=queue.arn,
        )

        action = aws.terminate_in_group(instance_id)

        test, notification = (json.loads(message.body) for message in aws.contents(queue.url))
        assert test["Event"] == "autoscaling:TEST_NOTIFICATION"
        assert notification["LifecycleActionToken"] == action.token
        assert notification["EC2InstanceId"] == instance_id


def instance_state(aws: simulator.AwsSimulator, instance_id: str) -> str:
    client = aws.session.client("ec2", endpoint_url=aws.endpoint_url)
    answer = client.describe_instances(InstanceIds=[instance_id])
    client.close()
    return answer["Reservations"][0]["Instances"][0]["State"]["Name"]
