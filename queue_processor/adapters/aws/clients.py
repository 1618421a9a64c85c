"""boto3 clients, configured as AWS recommends, and the threads that their calls block."""

import concurrent.futures
import contextlib
import datetime as dt
import os
import queue
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import boto3
import botocore.config
import botocore.exceptions
import botocore.session

from queue_processor.domain import errors, identifiers

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient
    from types_boto3_ec2 import EC2Client
    from types_boto3_events import EventBridgeClient
    from types_boto3_sqs import SQSClient
    from types_boto3_sts import STSClient

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

# The names that SQS has, and those that it had.
# https://docs.aws.amazon.com/general/latest/gr/sqs-service.html
_PUBLIC_SQS = re.compile(r"sqs(-fips)?\.[a-z]+(-[a-z]+)+-[0-9]\.|([a-z0-9-]+\.)?queue\.amazonaws\.")
_CONNECT_SECONDS = 3
_READ_SECONDS = 10
_ATTEMPTS = 3
_CONNECTIONS = 16


class ClientFactory:
    """Builds clients from the SDK's own environment: Region, endpoint, credentials.

    Every method raises ConfigurationError if there is no Region.
    """

    def __init__(self, *, queue_url: str | None) -> None:
        """Find the credentials.

        Args:
            queue_url: The queue that the clients are about. Its Region is theirs, unless
                `AWS_REGION` names another: that of a profile is often somewhere else.

        Raises:
            ConfigurationError: There are none, or the profile does not exist.
        """
        with _errors_translated():
            self._session = _session(identifiers.region_of(queue_url))

    def sqs(self, *, queue_url: str | None, wait_time_seconds: int) -> "SQSClient":
        """Build the client for SQS.

        Args:
            queue_url: Of the queue; if its host is a VPC endpoint, requests go there.
            wait_time_seconds: How long a receive may wait, which no timeout may undercut.
        """
        with _errors_translated():
            return _sqs(self._session, queue_url, wait_time_seconds)

    def autoscaling(self) -> "AutoScalingClient":
        """Build the client for EC2 Auto Scaling."""
        with _errors_translated():
            return self._session.client("autoscaling", config=_config(0))

    def ec2(self) -> "EC2Client":
        """Build the client for EC2, which costs 17 MiB."""
        with _errors_translated():
            return self._session.client("ec2", config=_config(0))

    def events(self) -> "EventBridgeClient":
        """Build the client for EventBridge."""
        with _errors_translated():
            return self._session.client("events", config=_config(0))

    def sts(self) -> "STSClient":
        """Build the client for STS."""
        with _errors_translated():
            return self._session.client("sts", config=_config(0))

    @property
    def region(self) -> str:
        """The Region of the clients; empty if there is none, and then there are no clients."""
        return self._session.region_name or ""

    def fetch_credentials(self) -> str:
        """Fetch the credentials, as the first request would; return how they are provided.

        Raises:
            ConfigurationError: There are none, because a session has expired, or because a role
                does not trust us.
        """
        with _errors_translated():
            credentials = self._session.get_credentials()
            assert credentials is not None  # noqa: S101 - checked when the session was built
            credentials.get_frozen_credentials()
            return credentials.method


def longest_call(*, wait: dt.timedelta) -> dt.timedelta:
    """Return how long a call takes at most until it returns or fails.

    Args:
        wait: How long the service may wait before it answers.
    """
    attempt = dt.timedelta(seconds=_CONNECT_SECONDS + _READ_SECONDS)
    # The SDK doubles its pauses, from a second on, and draws a part of them.
    pauses = dt.timedelta(seconds=2 ** (_ATTEMPTS - 1) - 1)
    # Credentials that have expired are renewed first, by a call like this one.
    renewal = _ATTEMPTS * attempt + pauses
    return renewal + _ATTEMPTS * (attempt + wait) + pauses


def _sqs(
    session: boto3.session.Session, queue_url: str | None, wait_time_seconds: int
) -> "SQSClient":
    """Build a client whose endpoint is the host of the queue, where that is not SQS's own.

    The SDK takes no notice of the host in a QueueUrl. The URL of a VPC endpoint, of a proxy or of
    an emulator would do nothing, and the requests would go to the internet. An endpoint in the
    SDK's environment has precedence.
    """
    config = _config(wait_time_seconds)
    client = session.client("sqs", config=config)
    if queue_url is None or _is_public(queue_url) or not _is_public(client.meta.endpoint_url):
        return client
    client.close()
    parsed = urllib.parse.urlsplit(queue_url)
    return session.client("sqs", config=config, endpoint_url=f"{parsed.scheme}://{parsed.netloc}")


def _is_public(url: str) -> bool:
    """Return True if a URL has a host of SQS itself, of whichever Region."""
    return _PUBLIC_SQS.match(urllib.parse.urlsplit(url).hostname or "") is not None


def _config(wait_time_seconds: int) -> botocore.config.Config:
    return botocore.config.Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS + wait_time_seconds,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        max_pool_connections=_CONNECTIONS,
        tcp_keepalive=True,
        user_agent_extra="queue-processor",
    )


def _session(region: str | None) -> boto3.session.Session:
    # The other SDKs, and the pods of EKS, name the Region like this; botocore does not.
    # https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html
    # Credentials come from other services, and the SDK would wait 60 seconds for each answer.
    # https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html
    core = botocore.session.Session()
    core.set_default_client_config(_config(0))
    session = boto3.session.Session(
        botocore_session=core, region_name=os.environ.get("AWS_REGION") or region
    )
    if session.get_credentials() is None:
        raise errors.ConfigurationError(
            "no AWS credentials",
            cure="give the pod's service account an IAM role, or set AWS_PROFILE or"
            " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    return session


@contextlib.contextmanager
def _errors_translated() -> Iterator[None]:
    try:
        yield
    except botocore.exceptions.NoRegionError as cause:
        raise errors.ConfigurationError(
            "no AWS Region: the URL of the queue shows none",
            cure="set AWS_REGION, or `region` in the profile",
        ) from cause
    except (
        botocore.exceptions.BotoCoreError,
        # STS refuses the role of the pod, or that of the profile.
        botocore.exceptions.ClientError,
        ValueError,
    ) as cause:
        raise errors.ConfigurationError(
            f"AWS: {cause}", cure="check AWS_PROFILE, and what the profile or the role needs"
        ) from cause


class DaemonExecutor(concurrent.futures.Executor):
    """A thread pool that the interpreter does not wait for when it exits.

    The standard pool joins its threads at exit, so a long poll would hold a stopping
    process for as long as it lasts.
    """

    def __init__(self, threads: int, *, name: str) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        for number in range(threads):
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True).start()

    def submit(
        self,
        fn: Callable[_Parameters, _Result],
        /,
        *args: _Parameters.args,
        **kwargs: _Parameters.kwargs,
    ) -> concurrent.futures.Future[_Result]:
        """Call a function in one of the threads."""
        future: concurrent.futures.Future[_Result] = concurrent.futures.Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
                future.set_exception(error)
            else:
                future.set_result(result)

        self._work.put(call)
        return future

    def _run(self) -> None:
        while True:
            self._work.get()()
