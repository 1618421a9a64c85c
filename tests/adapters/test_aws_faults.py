"""Nothing of botocore gets out of the AWS adapters."""

import datetime as dt
import inspect
import string
from collections.abc import Iterator
from typing import TYPE_CHECKING

import botocore.exceptions
import botocore.parsers
import pytest
from boto3.session import Session
from botocore.config import Config

from queue_processor.adapters.aws import clients
from queue_processor.adapters.aws import errors as aws_errors
from queue_processor.adapters.aws.autoscaling import AutoScalingLifecycle
from queue_processor.adapters.aws.clients import DaemonExecutor
from queue_processor.adapters.aws.ec2 import TaggedInstances
from queue_processor.adapters.aws.queue import QueueClient
from queue_processor.adapters.aws.sqs import SqsQueue
from queue_processor.domain import errors
from queue_processor.domain.events import LifecycleAction, LifecycleHook, LifecycleTransition
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.messages import ReceivedMessage
from tests.adapters.conftest import Listen
from tests.adapters.scripted import Ending, http

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

HOOK = LifecycleHook(group="workers", name="drain")
ACTION = LifecycleAction(
    hook=HOOK,
    transition=LifecycleTransition.TERMINATING,
    instance_id=InstanceId("i-0123456789abcdef0"),
    token="12345678-1234-1234-1234-123456789012",  # noqa: S106 - a token of a lifecycle action
)
MESSAGE = ReceivedMessage(
    message_id="id",
    receipt_handle="handle",
    body="body",
)


def raisable() -> Iterator[Exception]:
    """One of each error class of botocore but ClientError, which has an answer to tell of."""
    for _, kind in inspect.getmembers(botocore.exceptions, inspect.isclass):
        if not issubclass(kind, botocore.exceptions.BotoCoreError):
            continue
        text = kind.fmt
        names = {name for _, name, _, _ in string.Formatter().parse(text) if name}
        # Some name their arguments in the signature besides.
        names |= set(inspect.signature(kind).parameters) - {"self", "args", "kwargs"}
        yield kind(**dict.fromkeys(names, "what"))


@pytest.mark.parametrize("cause", list(raisable()), ids=lambda cause: type(cause).__name__)
def test_every_error_of_botocore_becomes_one_of_ours(cause: Exception) -> None:
    with pytest.raises(errors.QueueProcessorError) as raised, aws_errors.translated("call"):
        raise cause

    assert raised.value.__cause__ is cause
    assert str(raised.value).startswith("call: ")
    is_refused = isinstance(cause, botocore.exceptions.ParamValidationError)
    expected = errors.PermanentError if is_refused else errors.TemporaryError
    assert type(raised.value) is expected


def test_an_answer_that_botocore_cannot_read_is_a_temporary_fault() -> None:
    cause = botocore.parsers.ResponseParserError("what")
    with pytest.raises(errors.TemporaryError) as raised, aws_errors.translated("call"):
        raise cause

    assert raised.value.__cause__ is cause


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("AccessDenied", 403, errors.PermanentError),
        ("AccessDeniedException", 400, errors.PermanentError),
        ("InvalidClientTokenId", 403, errors.PermanentError),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, errors.PermanentError),
        ("ValidationError", 400, errors.NotFound),
        ("Throttling", 400, errors.TemporaryError),
        ("ThrottlingException", 400, errors.TemporaryError),
        ("RequestThrottled", 403, errors.TemporaryError),
        ("RequestLimitExceeded", 503, errors.TemporaryError),
        ("ServiceUnavailable", 503, errors.TemporaryError),
        ("InternalFailure", 500, errors.TemporaryError),
        ("SomethingNew", 502, errors.TemporaryError),
        ("SomethingNew", 400, errors.PermanentError),
        ("ExpiredToken", 403, errors.TemporaryError),
        ("ExpiredTokenException", 400, errors.TemporaryError),
        ("ResourceContention", 400, errors.TemporaryError),
    ],
)
def test_an_answer_of_aws_is_told_by_its_code(
    code: str, status: int, expected: type[Exception]
) -> None:
    cause = botocore.exceptions.ClientError(
        {
            "Error": {"Code": code, "Message": "why"},
            "ResponseMetadata": {
                "HTTPStatusCode": status,
                "RequestId": "",
                "HostId": "",
                "HTTPHeaders": {},
                "RetryAttempts": 0,
            },
        },
        "Call",
    )
    with pytest.raises(errors.QueueProcessorError) as raised, aws_errors.translated("call"):
        raise cause

    assert type(raised.value) is expected
    assert raised.value.__cause__ is cause
    assert str(raised.value) == f"call: {code.rpartition('.')[2]}: why"


def test_an_error_of_our_own_passes_unchanged() -> None:
    fault = errors.NotFound("no such hook")
    with pytest.raises(errors.NotFound) as raised, aws_errors.translated("call"):
        raise fault

    assert raised.value is fault


def test_entries_of_a_batch_fail_each_in_its_own_way() -> None:
    results = aws_errors.of_batch(
        "delete",
        8,
        done=["0", "2"],
        failed=[
            {"Id": "3", "SenderFault": True, "Code": "ReceiptHandleIsInvalid"},
            {"Id": "1", "SenderFault": False, "Code": "InternalError"},
            {"Id": "4", "SenderFault": True, "Code": "AccessDenied", "Message": "why"},
            {"Id": "5", "SenderFault": True, "Code": "AWS.SimpleQueueService.MessageNotInflight"},
            {"Id": "6", "SenderFault": True, "Code": "RequestThrottled"},
        ],
    )

    assert [type(result) for result in results] == [
        type(None),
        errors.TemporaryError,
        type(None),
        errors.StaleReceiptHandle,
        errors.PermanentError,
        errors.StaleReceiptHandle,
        errors.TemporaryError,
        # Neither done nor failed.
        errors.TemporaryError,
    ]
    assert str(results[4]) == "delete: AccessDenied: why"


BROKEN = {
    "no answer": (b"", Ending.CLOSE),
    "reset": (b"", Ending.RESET),
    "closed in the middle": (http(200, b"<Answer>", length=100), Ending.CLOSE),
    "reset in the middle": (http(200, b"{", length=100), Ending.RESET),
    "silence": (b"", Ending.HANG),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Ending.CLOSE),
    "garbage": (http(200, b"garbage"), Ending.CLOSE),
    "a proxy that fails": (http(502, b"<html>Bad Gateway</html>"), Ending.CLOSE),
    "a proxy that is busy": (http(503, b""), Ending.CLOSE),
}


@pytest.mark.parametrize(("answer", "ending"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_connection_is_a_temporary_fault_of_every_call(
    session: Session, listen: Listen, answer: bytes, ending: Ending
) -> None:
    server = await listen(answer, ending)
    found = await faults_of_every_call(session, server.url)
    # A receive whose answer is no JSON has received nothing.
    assert len(found) >= 6
    for fault in found:
        assert type(fault) is errors.TemporaryError
        is_empty = "no answer about entry" in str(fault)
        assert is_empty or isinstance(fault.__cause__, Exception)


async def test_garbage_where_json_should_be_is_no_message(session: Session, listen: Listen) -> None:
    server = await listen(http(200, b"garbage"))
    sqs = session.client("sqs", endpoint_url=server.url, config=quick())

    assert list(await queue_on(sqs).receive()) == []
    sqs.close()


def quick() -> Config:
    """One attempt, and little patience."""
    return Config(retries={"total_max_attempts": 1}, read_timeout=0.2, connect_timeout=1)


@pytest.fixture(scope="module")
def session() -> Session:
    """One for all, since it keeps the descriptions of the services."""
    return Session(
        aws_access_key_id="x",
        aws_secret_access_key="x",  # noqa: S106 - nobody checks it
        region_name="us-east-1",
    )


def queue_on(sqs: "SQSClient") -> SqsQueue:
    return SqsQueue(
        QueueClient(sqs, "https://sqs.us-east-1.amazonaws.com/123456789012/queue"),
        visibility_timeout=dt.timedelta(seconds=1),
        wait_time=dt.timedelta(),
        threads=DaemonExecutor(2, name="aws"),
    )


async def faults_of_every_call(session: Session, url: str) -> list[BaseException]:
    """The error of each call to AWS; first the calls that speak JSON."""
    threads = DaemonExecutor(2, name="aws")
    sqs = session.client("sqs", endpoint_url=url, config=quick())
    autoscaling = session.client("autoscaling", endpoint_url=url, config=quick())
    ec2 = session.client("ec2", endpoint_url=url, config=quick())
    queue = queue_on(sqs)
    lifecycle = AutoScalingLifecycle(autoscaling, threads=threads)
    tagged = TaggedInstances(ec2, tag_key="ours", threads=threads)
    found: list[BaseException] = []
    for call in (
        queue.receive(),
        queue.hide("handle", dt.timedelta(seconds=1)),
        queue.delete("handle"),
        lifecycle.complete(ACTION),
        lifecycle.heartbeat(ACTION),
        lifecycle.heartbeat_timeout(HOOK),
        tagged.is_managed(ACTION.instance_id),
    ):
        try:
            await call
        except Exception as fault:  # noqa: BLE001 - which it is, the test tells
            found.append(fault)
    for made in (sqs, autoscaling, ec2):
        made.close()
    return found


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without anything of AWS."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials")
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"AWS_REGION": "us-east-1"}, "no AWS credentials"),
        ({"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}, "no AWS Region"),
        ({"AWS_REGION": "us-east-1", "AWS_PROFILE": "missing"}, "missing"),
        ({"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x"}, "AWS"),
    ],
)
def test_what_is_missing_in_the_environment_is_told_in_one_line(
    environment: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    with pytest.raises(errors.ConfigurationError, match=expected) as raised:
        clients.ClientFactory(queue_url=None).autoscaling()

    assert "\n" not in str(raised.value)


def test_clients_are_made_from_the_environment_and_outlast_a_long_poll(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("AWS_REGION", "eu-north-1")
    environment.setenv("AWS_ACCESS_KEY_ID", "x")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "x")
    made = clients.ClientFactory(queue_url=None)
    sqs = made.sqs(queue_url=None, wait_time_seconds=20)

    assert sqs.meta.config.read_timeout > 20  # type: ignore[attr-defined] # it is there
    for client in (sqs, made.autoscaling(), made.ec2(), made.events()):
        assert client.meta.region_name == "eu-north-1"
        client.close()


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "us-west-2"}, "eu-west-1"),
        ({"AWS_REGION": "us-east-1"}, "us-east-1"),
    ],
    ids=["of the queue", "not of the profile", "named"],
)
def test_the_region_is_that_of_the_queue_unless_another_is_named(
    environment: pytest.MonkeyPatch, variables: dict[str, str], region: str
) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    for name, value in {**keys, **variables}.items():
        environment.setenv(name, value)
    queue_url = "https://sqs.eu-west-1.amazonaws.com/123456789012/queue"
    client = clients.ClientFactory(queue_url=queue_url).autoscaling()

    assert client.meta.region_name == region
    client.close()
