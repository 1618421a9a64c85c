"""The AWS services next to each other: one that does not respond delays no other."""

import asyncio
import datetime as dt

import pytest

from queue_processor.adapters.aws import services
from queue_processor.bootstrap import utc_now
from queue_processor.domain.events import LifecycleAction, LifecycleHook, LifecycleTransition
from queue_processor.domain.identifiers import InstanceId
from queue_processor.settings import Settings
from queue_processor.simulator.aws import simulator
from tests.adapters.scripted import Ending, Server

_CALLS = 40


def _action(number: int) -> LifecycleAction:
    return LifecycleAction(
        hook=LifecycleHook(group="workers", name="drain"),
        transition=LifecycleTransition.TERMINATING,
        instance_id=InstanceId(f"i-{number:017x}"),
        token=None,
    )


async def test_endpoints_that_never_respond_delay_no_visibility_extension_and_no_delete(
    aws: simulator.AwsSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.reset()
    queue_url = aws.deploy().queue_url
    async with Server(b"", Ending.HANG).listening() as silent:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL_AUTO_SCALING", silent.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", silent.url)
        opened = await services.open_aws(
            Settings.model_validate({"queue_url": queue_url, "managed_tag": "ours"}),
            clock=utc_now,
        )
        assert opened.source is not None
        assert opened.lifecycle is not None
        assert opened.managed is not None
        queue, lifecycle, managed = opened.source.queue, opened.lifecycle, opened.managed
        aws.send_raw("one", queue_url=queue_url)
        (message,) = await queue.receive()

        actions = [_action(number) for number in range(_CALLS)]
        hanging = [
            *(asyncio.create_task(lifecycle.heartbeat(action)) for action in actions),
            *(asyncio.create_task(managed.is_managed(action.instance_id)) for action in actions),
        ]
        await silent.until_received(9)
        async with asyncio.timeout(5):
            await queue.hide(message.receipt_handle, dt.timedelta(seconds=30))
            await queue.delete(message.receipt_handle)
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)

    assert aws.queue_state(queue_url).total == 0
