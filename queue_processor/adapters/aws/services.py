"""The AWS services of the operator, opened and checked at its start."""

import asyncio
import dataclasses
import datetime as dt
import functools
from collections.abc import Callable

from queue_processor.adapters.aws.autoscaling import AutoScalingLifecycle
from queue_processor.adapters.aws.clients import ClientFactory, DaemonExecutor
from queue_processor.adapters.aws.ec2 import TaggedInstances
from queue_processor.adapters.aws.queue import QueueClient
from queue_processor.adapters.aws.source import SqsSource
from queue_processor.adapters.aws.sqs import SqsQueue
from queue_processor.settings import Settings

# Each service has threads of its own: calls that wait for an endpoint that does not respond must
# not delay the visibility extensions, which have 30 seconds. Tags are looked up one call at a time.
_SQS_THREADS = 8
_AUTO_SCALING_THREADS = 8
_EC2_THREADS = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Aws:
    """The AWS services that the settings need.

    Attributes:
        source: None without a queue; then there are no lifecycle actions either.
        managed: Only with a managed tag.
    """

    source: SqsSource | None = None
    lifecycle: AutoScalingLifecycle | None = None
    managed: TaggedInstances | None = None

    async def close(self) -> None:
        """Return when the messages of the last receive call are released."""
        if self.source is not None:
            await self.source.queue.close()


async def open_aws(settings: Settings, *, clock: Callable[[], dt.datetime]) -> Aws:
    """Build the clients and their threads, and check the queue.

    Raises:
        ConfigurationError: There is no Region or there are no credentials, or the queue cannot
            be used.
    """
    sqs_threads = DaemonExecutor(_SQS_THREADS, name="sqs")
    call = functools.partial(asyncio.get_running_loop().run_in_executor, sqs_threads)
    factory = await call(functools.partial(ClientFactory, queue_url=settings.queue_url))
    managed = None
    if settings.managed_tag is not None:
        managed = TaggedInstances(
            await call(factory.ec2),
            tag_key=settings.managed_tag,
            threads=DaemonExecutor(_EC2_THREADS, name="ec2"),
        )
    if settings.queue_url is None:
        return Aws(managed=managed)
    sqs = settings.sources.sqs
    client = await call(
        functools.partial(
            factory.sqs, queue_url=settings.queue_url, wait_time_seconds=sqs.wait_time_seconds
        )
    )
    queue = SqsQueue(
        QueueClient(client, settings.queue_url),
        visibility_timeout=dt.timedelta(seconds=sqs.visibility_timeout_seconds),
        wait_time=dt.timedelta(seconds=sqs.wait_time_seconds),
        threads=sqs_threads,
    )
    await queue.open()
    lifecycle = AutoScalingLifecycle(
        await call(factory.autoscaling),
        threads=DaemonExecutor(_AUTO_SCALING_THREADS, name="autoscaling"),
    )
    return Aws(source=SqsSource(queue, clock=clock), lifecycle=lifecycle, managed=managed)
