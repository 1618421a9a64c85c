"""The attributes of a queue, read from the texts in which SQS reports them.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
"""

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from botocore.utils import ArnParser

if TYPE_CHECKING:
    from types_boto3_sqs.literals import QueueAttributeFilterType, QueueAttributeNameType

    Attributes: TypeAlias = Mapping[QueueAttributeNameType, str]

OF_STATE: Final[Sequence["QueueAttributeFilterType"]] = (
    "QueueArn",
    "RedrivePolicy",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
)
OF_CONFIGURATION: Final[Sequence["QueueAttributeFilterType"]] = (
    "MessageRetentionPeriod",
    "KmsMasterKeyId",
    "SqsManagedSseEnabled",
    "Policy",
)
# Restarts and releases cost good messages a receive each.
_FEW_RECEIVES = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RedrivePolicy:
    """The redrive policy of a queue: when and where SQS moves messages that are not deleted.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html

    Attributes:
        target_arn: The dead-letter queue.
        max_receive_count: A message that has been received this often is moved at its next
            receipt.
    """

    target_arn: str
    max_receive_count: int

    @property
    def has_few_receives(self) -> bool:
        """True if messages are moved although nothing is wrong with them."""
        return self.max_receive_count < _FEW_RECEIVES


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """Attributes of a queue as SQS reports them; its counts lag behind by up to a minute.

    Attributes:
        redrive: None for a queue without a dead-letter queue.
        visible: How many messages a receive could return.
        in_flight: How many were received and are not settled.
    """

    arn: str
    redrive: RedrivePolicy | None
    visible: int
    in_flight: int

    @property
    def is_fifo(self) -> bool:
        """True for a FIFO queue, whose name always ends like this."""
        return self.arn.endswith(".fifo")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfiguration:
    """Attributes of a queue that its owner sets.

    Attributes:
        kms_key: The id, ARN or alias of a KMS key; None for another encryption, or none.
        policy: The queue policy, as JSON; None for a queue without one.
    """

    retention: dt.timedelta
    kms_key: str | None
    is_encrypted: bool
    policy: str | None


def state_of(attributes: "Attributes") -> QueueState:
    """Read the attributes OF_STATE; raises LookupError or ValueError for an answer that is none."""
    return QueueState(
        arn=attributes["QueueArn"],
        redrive=_redrive_policy(attributes.get("RedrivePolicy")),
        visible=int(attributes["ApproximateNumberOfMessages"]),
        in_flight=int(attributes["ApproximateNumberOfMessagesNotVisible"]),
    )


def configuration_of(attributes: "Attributes") -> QueueConfiguration:
    """Read the attributes OF_CONFIGURATION; raises as `state_of` does."""
    kms_key = attributes.get("KmsMasterKeyId") or None
    has_sqs_keys = attributes.get("SqsManagedSseEnabled") == "true"
    return QueueConfiguration(
        retention=dt.timedelta(seconds=int(attributes["MessageRetentionPeriod"])),
        kms_key=kms_key,
        is_encrypted=has_sqs_keys or kms_key is not None,
        policy=attributes.get("Policy"),
    )


def name_in(arn: str) -> str:
    """Return the name of the queue that an ARN names; raises ValueError for what is not an ARN."""
    name: str = ArnParser().parse_arn(arn)["resource"]
    return name


def _redrive_policy(text: str | None) -> RedrivePolicy | None:
    """Read the attribute RedrivePolicy of a queue; None where there is none."""
    fields = json.loads(text or "{}")
    if not fields.get("deadLetterTargetArn"):
        return None
    # The console writes the number, CloudFormation its text.
    policy = RedrivePolicy(
        target_arn=fields["deadLetterTargetArn"], max_receive_count=int(fields["maxReceiveCount"])
    )
    # Raises ValueError for what is not an ARN, here rather than where the queue is used.
    name_in(policy.target_arn)
    return policy
