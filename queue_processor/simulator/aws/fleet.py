"""Instances and Auto Scaling groups to try things on, made through the API of AWS."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from queue_processor.simulator.aws import lifecycle

if TYPE_CHECKING:
    import types_boto3_autoscaling
    import types_boto3_ec2

# moto runs any image.
_IMAGE = "ami-0123456789abcdef0"
_INSTANCE_TYPE: Final = "m5.large"
# https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_AttachInstances.html
_MOST_ATTACHED_AT_ONCE = 20


def launch(
    client: "types_boto3_ec2.EC2Client", count: int, zone: str, tags: Mapping[str, str]
) -> tuple[str, ...]:
    """Run instances and return their ids."""
    answer = client.run_instances(
        ImageId=_IMAGE,
        InstanceType=_INSTANCE_TYPE,
        MinCount=count,
        MaxCount=count,
        Placement={"AvailabilityZone": zone},
        TagSpecifications=[
            {
                "ResourceType": "instance",
                "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
            }
        ]
        if tags
        else [],
    )
    return tuple(instance["InstanceId"] for instance in answer["Instances"])


def create_group(
    client: "types_boto3_autoscaling.AutoScalingClient",
    name: str,
    zone: str,
    hooks: Iterable[lifecycle.SimulatedLifecycleHook],
) -> None:
    """Create an empty group with lifecycle hooks."""
    client.create_launch_configuration(
        LaunchConfigurationName=name, ImageId=_IMAGE, InstanceType=_INSTANCE_TYPE
    )
    client.create_auto_scaling_group(
        AutoScalingGroupName=name,
        LaunchConfigurationName=name,
        MinSize=0,
        MaxSize=10_000,
        DesiredCapacity=0,
        AvailabilityZones=[zone],
    )
    for hook in hooks:
        metadata = {"NotificationMetadata": hook.metadata} if hook.metadata else {}
        client.put_lifecycle_hook(
            AutoScalingGroupName=name,
            LifecycleHookName=hook.name,
            LifecycleTransition=hook.transition.value,
            HeartbeatTimeout=int(hook.heartbeat_timeout.total_seconds()),
            DefaultResult=hook.default_result.value,
            **metadata,
        )


def attach(
    client: "types_boto3_autoscaling.AutoScalingClient", group: str, instance_ids: Iterable[str]
) -> None:
    """Make running instances members of a group; no hook holds them up."""
    members = list(instance_ids)
    for start in range(0, len(members), _MOST_ATTACHED_AT_ONCE):
        client.attach_instances(
            AutoScalingGroupName=group,
            InstanceIds=members[start : start + _MOST_ATTACHED_AT_ONCE],
        )
