"""SqsQueue beyond its contract: finding the queues, batches, and a clean stop."""

import asyncio
import json

import botocore.exceptions
import pytest
import structlog.testing

from queue_processor.adapters.aws.sqs import SqsQueue
from queue_processor.domain import errors
from tests.contracts import queues


async def receive_and_cancel(shell: queues.HttpShell, queue: SqsQueue) -> None:
    """Begin a long poll and cancel it, before anything came."""
    receiving = asyncio.create_task(queue.receive())
    await asyncio.sleep(0.2)
    receiving.cancel()
    await asyncio.wait((receiving,))
    assert receiving.cancelled()
    assert shell.left() == 0


async def test_what_comes_after_a_cancellation_is_handed_back(shell: queues.HttpShell) -> None:
    queue = shell.connect(shell.url, wait_seconds=5)
    await receive_and_cancel(shell, queue)
    shell.send("late")
    await queue.close()

    assert (shell.visible(), shell.left()) == (1, 1)
    (record,) = shell.aws.message_log(shell.url)
    assert len(record.received_at) == 1


async def test_closing_waits_for_the_receive_that_is_under_way(shell: queues.HttpShell) -> None:
    queue = shell.connect(shell.url, wait_seconds=1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await receive_and_cancel(shell, queue)
    await queue.close()

    assert loop.time() - began >= 0.9
    shell.send("later")
    await asyncio.sleep(0.1)
    (record,) = shell.aws.message_log(shell.url)
    assert record.received_at == ()


async def test_closing_does_not_fail_when_the_late_receive_did(shell: queues.HttpShell) -> None:
    queue = shell.connect(shell.url, wait_seconds=1)

    def fail(**_: object) -> None:
        raise botocore.exceptions.EndpointConnectionError(endpoint_url="sqs")

    await receive_and_cancel(shell, queue)
    shell.client.meta.events.register("before-call.sqs.ChangeMessageVisibilityBatch", fail)
    shell.send("late")
    await queue.close()

    # The visibility timeout gives it back.
    await asyncio.sleep(queues.VISIBILITY_SECONDS + 0.1)
    assert shell.visible() == 1


async def test_a_queue_that_was_never_read_is_closed_at_once(shell: queues.HttpShell) -> None:
    async with asyncio.timeout(0.5):
        await shell.queue.close()


async def test_twenty_five_deletes_are_three_requests(shell: queues.HttpShell) -> None:
    shell.send(*(f"body {number}" for number in range(25)))
    handles: list[str] = []
    while len(handles) < 25:
        handles += [message.receipt_handle for message in await shell.queue.receive()]
    requests = []

    def count(**_: object) -> None:
        requests.append(1)

    shell.client.meta.events.register("before-send.sqs.DeleteMessageBatch", count)
    await asyncio.gather(*(shell.queue.delete(handle) for handle in handles))

    assert shell.left() == 0
    assert len(requests) == 3


async def test_a_batch_that_cannot_be_sent_fails_all_who_wait_for_it(
    shell: queues.HttpShell,
) -> None:
    def fail(**_: object) -> None:
        raise botocore.exceptions.EndpointConnectionError(endpoint_url="sqs")

    shell.client.meta.events.register("before-call.sqs.DeleteMessageBatch", fail)
    results = await asyncio.gather(
        *(shell.queue.delete(f"handle {number}") for number in range(3)), return_exceptions=True
    )

    assert [type(result) for result in results] == [errors.TemporaryError] * 3


async def test_one_who_stops_waiting_does_not_stop_the_others(shell: queues.HttpShell) -> None:
    shell.send("one", "two")
    first, second = await shell.queue.receive()
    one = asyncio.create_task(shell.queue.delete(first.receipt_handle))
    two = asyncio.create_task(shell.queue.delete(second.receipt_handle))
    await asyncio.sleep(0)
    one.cancel()
    await two

    assert shell.left() == 0


async def test_a_queue_without_a_redrive_policy_has_no_dead_letter_queue(
    shell: queues.HttpShell,
) -> None:
    queue = shell.connect(shell.create())
    await queue.open()
    shell.send("one")
    message = await queues.next_message(shell)

    assert not await queue.dead_letter(message, "it is malformed")


async def test_opening_a_queue_asks_for_nothing_but_its_attributes(shell: queues.HttpShell) -> None:
    asked = []

    def note(event_name: str, **_: object) -> None:
        asked.append(event_name.rpartition(".")[2])

    shell.client.meta.events.register("provide-client-params.sqs.*", note)
    await shell.connect(shell.url).open()

    assert asked == ["GetQueueAttributes"]


@pytest.mark.parametrize(
    "policy",
    [
        "garbage",
        '{"deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:dead-letters"}',
        '{"deadLetterTargetArn": "garbage", "maxReceiveCount": 5}',
    ],
)
async def test_a_redrive_policy_that_is_none_is_a_configuration_fault(
    shell: queues.HttpShell, policy: str
) -> None:
    def answer(parsed: dict[str, dict[str, str]], **_: object) -> None:
        parsed["Attributes"]["RedrivePolicy"] = policy

    shell.client.meta.events.register("after-call.sqs.GetQueueAttributes", answer)

    with pytest.raises(errors.ConfigurationError):
        await shell.connect(shell.url).open()


async def test_a_fifo_queue_is_refused_in_one_line_with_the_cure(shell: queues.HttpShell) -> None:
    def answer(parsed: dict[str, dict[str, str]], **_: object) -> None:
        parsed["Attributes"]["QueueArn"] += ".fifo"

    shell.client.meta.events.register("after-call.sqs.GetQueueAttributes", answer)

    with pytest.raises(errors.ConfigurationError, match="is a FIFO queue") as raised:
        await shell.connect(shell.url).open()

    assert "\n" not in str(raised.value)
    assert shell.url in str(raised.value)
    assert "a standard queue" in str(raised.value)


@pytest.mark.parametrize(("count", "warned"), [(1, True), (4, True), (5, False)])
async def test_a_queue_that_gives_up_after_a_few_receives_is_warned_about(
    shell: queues.HttpShell, count: int, *, warned: bool
) -> None:
    policy = {"deadLetterTargetArn": shell.arn_of(shell.create()), "maxReceiveCount": count}
    url = shell.create(RedrivePolicy=json.dumps(policy))

    with structlog.testing.capture_logs() as logs:
        await shell.connect(url).open()

    expected = {
        "event": "max_receive_count_is_low",
        "log_level": "warning",
        "queue_url": url,
        "max_receive_count": count,
    }
    assert logs == ([expected] if warned else [])


async def test_a_queue_that_does_not_exist_is_told_in_one_line(shell: queues.HttpShell) -> None:
    with pytest.raises(errors.ConfigurationError, match="check queue_url") as raised:
        await shell.connect(f"{shell.url}-missing").open()

    assert "\n" not in str(raised.value)
    assert f"{shell.url}-missing" in str(raised.value)
    assert isinstance(raised.value.__cause__, errors.UsageError)


async def test_a_queue_that_refuses_us_is_told_in_one_line(shell: queues.HttpShell) -> None:
    def refuse(**_: object) -> None:
        raise botocore.exceptions.ClientError(
            {"Error": {"Code": "AccessDenied", "Message": "not authorized"}}, "GetQueueAttributes"
        )

    shell.client.meta.events.register("before-call.sqs.GetQueueAttributes", refuse)
    with pytest.raises(errors.ConfigurationError, match="AccessDenied") as raised:
        await shell.connect(shell.url).open()

    assert "\n" not in str(raised.value)
    assert "sqs:GetQueueAttributes" in str(raised.value)
