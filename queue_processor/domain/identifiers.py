"""Instance ids, provider ids and node names, as three types that mypy keeps apart."""

import re
from typing import NewType

InstanceId = NewType("InstanceId", str)
ProviderId = NewType("ProviderId", str)
NodeName = NewType("NodeName", str)

# Eight hexadecimal digits before 2016, seventeen since.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/resource-ids.html
_INSTANCE_ID = re.compile(r"i-[0-9a-f]{8,17}", re.ASCII)
_INSTANCE_ARN = re.compile(r"arn:[a-z0-9-]+:ec2:[a-z0-9-]*:[0-9]*:instance/(?P<id>i-.+)", re.ASCII)


def parse_instance_id(text: str) -> InstanceId | None:
    """Parse an instance id, bare or as the last part of an EC2 ARN.

    Args:
        text: `i-0123456789abcdef0` or `arn:aws:ec2:REGION:ACCOUNT:instance/i-…`.

    Returns:
        The instance id, or None if the text is not one.
    """
    arn = _INSTANCE_ARN.fullmatch(text)
    candidate = arn["id"] if arn else text
    return InstanceId(candidate) if _INSTANCE_ID.fullmatch(candidate) else None


def instance_of(provider_id: ProviderId) -> InstanceId | None:
    """Return the instance id in a node's `spec.providerID`.

    The AWS cloud provider writes `aws:///ZONE/INSTANCE-ID`; only the last segment is
    fixed (https://github.com/kubernetes/cloud-provider-aws, `pkg/providers/v1`).

    Returns:
        The instance id, or None for a node that is not an EC2 instance (Fargate, hybrid).
    """
    return parse_instance_id(provider_id.rsplit("/", 1)[-1])
