"""The clients of boto3: where their requests go."""

import contextlib

import pytest

from queue_processor.adapters.aws import clients
from queue_processor.adapters.aws.queue import QueueClient
from tests.contracts import queues

VPC_ENDPOINT = "https://vpce-0a1b2c3d-4e5f.sqs.us-east-1.vpce.amazonaws.com"
DEFAULT = "https://sqs.us-east-1.amazonaws.com"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A Region and credentials, and no endpoint."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    return monkeypatch


def endpoint_for(queue_url: str | None) -> str:
    made = clients.create_sqs(queue_url=queue_url, wait_time_seconds=0)
    with contextlib.closing(made):
        return made.meta.endpoint_url


@pytest.mark.parametrize(
    "host",
    [
        VPC_ENDPOINT,
        "https://vpce-0a1b2c3d-4e5f-us-east-1a.sqs.us-east-1.vpce.amazonaws.com",
        "https://queues.example:8443",
        "http://127.0.0.1:4566",
    ],
)
def test_the_host_of_a_queue_that_is_not_of_sqs_itself_is_the_endpoint(host: str) -> None:
    assert endpoint_for(f"{host}/123456789012/queue") == host


@pytest.mark.parametrize(
    "queue_url",
    [
        None,
        f"{DEFAULT}/123456789012/queue",
        "https://sqs-fips.us-east-1.amazonaws.com/123456789012/queue",
        "https://sqs.us-east-1.api.aws/123456789012/queue",
        "https://us-east-1.queue.amazonaws.com/123456789012/queue",
        "https://queue.amazonaws.com/123456789012/queue",
    ],
)
def test_for_a_host_of_sqs_the_sdk_chooses_the_endpoint(queue_url: str | None) -> None:
    assert endpoint_for(queue_url) == DEFAULT


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS"])
def test_an_endpoint_in_the_environment_has_precedence(
    name: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv(name, "https://another.example")

    assert endpoint_for(f"{VPC_ENDPOINT}/123456789012/queue") == "https://another.example"


async def test_the_queue_at_its_own_host_answers_without_an_endpoint_in_the_environment(
    shell: queues.HttpShell,
) -> None:
    await shell.open()
    made = clients.create_sqs(queue_url=shell.url, wait_time_seconds=0)

    with contextlib.closing(made):
        assert QueueClient(made, shell.url).state().visible == 0
