"""The parts of an installation, as they were read."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from queue_processor.adapters.aws.autoscaling import HookConfiguration
from queue_processor.adapters.aws.event_rules import EventRules
from queue_processor.adapters.aws.identity import CallerIdentity
from queue_processor.adapters.aws.queue import QueueClient
from queue_processor.adapters.aws.queue_attributes import QueueConfiguration, QueueState
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.doctor.server_time import ServerTime
from queue_processor.domain.nodes import NodeView, UnmappedNode
from queue_processor.domain.pods import PodView

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient
    from types_boto3_sqs import SQSClient
    from types_boto3_sts import STSClient


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AwsClients:
    """A client for each service, and the Region of their requests."""

    region: str
    sts: "STSClient"
    sqs: "SQSClient"
    rules: EventRules
    autoscaling: "AutoScalingClient"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The owner of the credentials, and the time of STS; None if its answer has none."""

    identity: CallerIdentity
    time: ServerTime | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QueueReading:
    """The queue, and all that SQS reports about it."""

    client: QueueClient
    state: QueueState
    configuration: QueueConfiguration


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GroupReading:
    """An Auto Scaling group whose instances are nodes here.

    Attributes:
        slowest: The pod with the longest grace period of all that a drain of these nodes evicts.
    """

    name: str
    hooks: Sequence[HookConfiguration]
    slowest: PodView | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClusterReading:
    """The API server.

    Attributes:
        name: Its URL and where that comes from, for people.
        time: Its time; None if its answer has none.
    """

    api: KubeApi
    name: str
    version: str
    time: ServerTime | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodesReading:
    """The nodes that the settings select.

    Attributes:
        of_karpenter: How many of them Karpenter has launched.
    """

    mapped: Sequence[NodeView]
    unmapped: Sequence[UnmappedNode]
    of_karpenter: int
