"""Instance ids, provider ids and node names, as three types; Regions and accounts of queues."""

import json
import re
import urllib.parse
from collections.abc import Mapping
from typing import NewType

InstanceId = NewType("InstanceId", str)
ProviderId = NewType("ProviderId", str)
NodeName = NewType("NodeName", str)

# Eight hexadecimal digits before 2016, seventeen since.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/resource-ids.html
_INSTANCE_ID = re.compile(r"i-[0-9a-f]{8,17}", re.ASCII)
# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names
_NODE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)
# https://github.com/eksctl-io/eksctl/blob/main/pkg/apis/eksctl.io/v1alpha5/types.go
_INSTANCE_LABEL = "alpha.eksctl.io/instance-id"
# https://kubernetes-csi.github.io/docs/csi-node-object.html
_CSI_ANNOTATION = "csi.volume.kubernetes.io/nodeid"
_EBS_DRIVER = "ebs.csi.aws.com"
# https://docs.aws.amazon.com/eks/latest/userguide/fargate.html
_COMPUTE_TYPE_LABEL = "eks.amazonaws.com/compute-type"
_HYBRID_SCHEME = "eks-hybrid:"
# https://docs.aws.amazon.com/general/latest/gr/sqs-service.html
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]", re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
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


def parse_node_name(text: str) -> NodeName | None:
    """Parse the name of a Node; return None for a text that no Node can have as its name."""
    return NodeName(text) if _NODE_NAME.fullmatch(text) else None


def region_of(queue_url: str | None) -> str | None:
    """Return the Region in the host of a queue's URL; an emulator's URL may show none."""
    host = urllib.parse.urlsplit(queue_url or "").hostname or ""
    return next((label for label in host.split(".") if _REGION.fullmatch(label)), None)


def account_of(queue_url: str | None) -> str | None:
    """Return the account in the path of a queue's URL."""
    path = urllib.parse.urlsplit(queue_url or "").path
    account = path.split("/")[-2] if path.count("/") else ""
    return account if _ACCOUNT.fullmatch(account) else None


def instance_of(provider_id: ProviderId) -> InstanceId | None:
    """Return the instance id in a node's `spec.providerID`.

    The AWS cloud provider writes `aws:///ZONE/INSTANCE-ID`; only the last segment is
    fixed (https://github.com/kubernetes/cloud-provider-aws, `pkg/providers/v1`).

    Returns:
        The instance id, or None for a node that is not an EC2 instance (Fargate, hybrid).
    """
    return parse_instance_id(provider_id.rsplit("/", 1)[-1])


def find_instance(
    provider_id: ProviderId, *, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> InstanceId | None:
    """Return the instance id of a Node by the first of the three places that has one.

    Distributions with a cloud provider of their own, such as k3s, write another `spec.providerID`.
    """
    return (
        instance_of(provider_id)
        or parse_instance_id(labels.get(_INSTANCE_LABEL, ""))
        or _instance_of_ebs(annotations.get(_CSI_ANNOTATION, ""))
    )


def is_outside_ec2(provider_id: ProviderId, *, labels: Mapping[str, str]) -> bool:
    """Return True for a Node that cannot be an EC2 instance: Fargate and EKS Hybrid Nodes."""
    return (
        provider_id.startswith(_HYBRID_SCHEME)
        or provider_id.rsplit("/", 1)[-1].startswith("fargate-")
        or labels.get(_COMPUTE_TYPE_LABEL) == "fargate"
    )


def _instance_of_ebs(annotation: str) -> InstanceId | None:
    """Return the id that the EBS CSI driver registered for a node, in JSON by driver."""
    try:
        ids = json.loads(annotation)
    except (ValueError, RecursionError):
        return None
    registered = ids.get(_EBS_DRIVER) if isinstance(ids, dict) else None
    return parse_instance_id(registered) if isinstance(registered, str) else None
