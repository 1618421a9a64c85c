"""The clients of boto3: where their requests go."""

import asyncio
import contextlib
import datetime as dt
import pathlib

import pytest

from queue_processor.adapters.aws import clients
from queue_processor.adapters.aws.queue import QueueClient
from queue_processor.domain import errors
from tests.adapters.conftest import Listen
from tests.adapters.scripted import Ending
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
    made = clients.ClientFactory(queue_url=queue_url).sqs(queue_url=queue_url, wait_time_seconds=0)
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


async def test_credentials_that_nobody_hands_out_fail_within_the_longest_call(
    listen: Listen, environment: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    silent = await listen(b"", Ending.HANG)
    token = tmp_path / "token"
    token.write_text("token", encoding="utf-8")
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    environment.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    environment.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/operator")
    environment.setenv("AWS_ENDPOINT_URL_STS", silent.url)
    # Else it would take the 39 seconds that it is about.
    environment.setattr(clients, "_READ_SECONDS", 0.1)
    made = clients.ClientFactory(queue_url=None).sqs(
        queue_url=silent.url + "/123456789012/queue", wait_time_seconds=0
    )
    queue = QueueClient(made, silent.url + "/123456789012/queue")

    with contextlib.closing(made), pytest.raises(errors.TemporaryError, match="timeout"):
        async with asyncio.timeout(clients.longest_call(wait=dt.timedelta()).total_seconds()):
            await asyncio.to_thread(queue.state)


async def test_the_queue_at_its_own_host_answers_without_an_endpoint_in_the_environment(
    shell: queues.HttpShell,
) -> None:
    await shell.open()
    made = clients.ClientFactory(queue_url=shell.url).sqs(queue_url=shell.url, wait_time_seconds=0)

    with contextlib.closing(made):
        assert QueueClient(made, shell.url).state().visible == 0
