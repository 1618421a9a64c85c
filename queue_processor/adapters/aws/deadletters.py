"""Where the dead letters of a queue go."""

import dataclasses
import json


@dataclasses.dataclass(frozen=True, slots=True)
class RedrivePolicy:
    """When and where SQS puts messages aside.

    Attributes:
        target_arn: The dead-letter queue.
        max_receive_count: A message that has been received this often is moved at its next
            receipt.
    """

    target_arn: str
    max_receive_count: int


def parse(policy: str | None) -> RedrivePolicy | None:
    """Read the attribute RedrivePolicy of a queue; None where there is none.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
    """
    fields = json.loads(policy or "{}")
    if not fields.get("deadLetterTargetArn"):
        return None
    # The console writes the number, CloudFormation its text.
    return RedrivePolicy(fields["deadLetterTargetArn"], int(fields["maxReceiveCount"]))


def url_beside(queue_url: str, arn: str) -> str:
    """The URL of a queue in the account and Region of another, so that nobody has to be asked.

    A dead-letter queue lies in those of its source.
    """
    return f"{queue_url.rpartition('/')[0]}/{arn.rpartition(':')[2]}"
