import dataclasses
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from queue_processor.simulator.aws import simulator

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import MessageTypeDef


@pytest.fixture(scope="module")
def running() -> Iterator[simulator.AwsSimulator]:
    with simulator.AwsSimulator() as aws:
        yield aws


@pytest.fixture
def aws(running: simulator.AwsSimulator) -> Iterator[simulator.AwsSimulator]:
    yield running
    running.reset()


@pytest.fixture(scope="module")
def sqs(running: simulator.AwsSimulator) -> Iterator["SQSClient"]:
    client = running.session.client("sqs", endpoint_url=running.endpoint_url)
    yield client
    client.close()


@pytest.fixture(scope="module")
def autoscaling(running: simulator.AwsSimulator) -> Iterator["AutoScalingClient"]:
    client = running.session.client("autoscaling", endpoint_url=running.endpoint_url)
    yield client
    client.close()


@dataclasses.dataclass(frozen=True)
class Queue:
    """A queue as a program sees it."""

    client: "SQSClient"
    url: str
    arn: str

    def send(self, body: str, **options: Any) -> str:  # noqa: ANN401 whatever boto3 takes
        return self.client.send_message(QueueUrl=self.url, MessageBody=body, **options)["MessageId"]

    def receive(self, **options: Any) -> "list[MessageTypeDef]":  # noqa: ANN401 whatever boto3 takes
        return self.client.receive_message(QueueUrl=self.url, **options).get("Messages", [])

    def receive_one(self, **options: Any) -> "MessageTypeDef":  # noqa: ANN401 whatever boto3 takes
        (message,) = self.receive(**options)
        return message

    def delete(self, receipt_handle: str) -> int:
        answer = self.client.delete_message(QueueUrl=self.url, ReceiptHandle=receipt_handle)
        return answer["ResponseMetadata"]["HTTPStatusCode"]

    def hide(self, receipt_handle: str, seconds: int) -> None:
        self.client.change_message_visibility(
            QueueUrl=self.url, ReceiptHandle=receipt_handle, VisibilityTimeout=seconds
        )


@pytest.fixture
def queue(aws: simulator.AwsSimulator, sqs: "SQSClient") -> Queue:  # noqa: ARG001 it resets
    url = sqs.create_queue(QueueName=f"queue-{uuid.uuid4()}")["QueueUrl"]
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return Queue(sqs, url, answer["Attributes"]["QueueArn"])
