"""SqsSource beyond the contract of every source: receipts, and visibility until the end."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator

import looptime
import pytest
import structlog

from queue_processor.adapters.aws.source import SqsDelivery, SqsSource
from queue_processor.domain import errors
from queue_processor.simulator.kube import clock
from tests.fakes.sqs import FakeQueue

pytestmark = pytest.mark.looptime

_START = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
_HOUR = 3600


@pytest.fixture
async def queue() -> FakeQueue:
    """A queue whose messages are visible again after 30 s."""
    with looptime.enabled(strict=True):
        return FakeQueue(clock=clock.LoopClock(_START))


@pytest.fixture
async def source(queue: FakeQueue) -> AsyncIterator[SqsSource]:
    """The queue as a source, at work."""
    with looptime.enabled(strict=True):
        client = queue.client()
        made = SqsSource(client, clock=clock.LoopClock(_START))
        running = asyncio.create_task(made.run())
    yield made
    with looptime.enabled(strict=True):
        running.cancel()
        await asyncio.wait((running,))
        await client.close()


async def deliver(queue: FakeQueue, source: SqsSource) -> SqsDelivery:
    """Send a message and receive it."""
    queue.send("{}")
    (delivery,) = await source.receive()
    return delivery


async def test_a_message_stays_invisible_until_its_delivery_is_closed(
    queue: FakeQueue, source: SqsSource
) -> None:
    delivery = await deliver(queue, source)
    for _ in range(200):
        assert queue.hidden_for(delivery.id) > 9.9
        await asyncio.sleep(1)
    delivery.close()
    await asyncio.sleep(61)

    assert queue.visible == 1


async def test_an_extension_that_hangs_does_not_let_the_message_go(
    queue: FakeQueue, source: SqsSource
) -> None:
    delivery = await deliver(queue, source)
    await asyncio.sleep(19)
    queue.delay = 120
    await asyncio.sleep(3)
    queue.delay = 0
    for _ in range(60):
        await asyncio.sleep(1)
        assert queue.hidden_for(delivery.id) > 4.9

    await asyncio.sleep(100)
    assert queue.receive_count(delivery.id) == 1
    assert not delivery.is_lost


async def test_messages_that_are_due_together_are_extended_in_one_request(
    queue: FakeQueue, source: SqsSource
) -> None:
    for _ in range(10):
        queue.send("{}")
        await source.receive()
        await asyncio.sleep(0.2)
    queue.calls.clear()
    await asyncio.sleep(100)

    changes = [at for call, at in queue.calls if call == "ChangeMessageVisibilityBatch"]
    # After two thirds of 30 s, and then of 60 s.
    assert changes == pytest.approx([20, 60, 100], abs=1)


async def test_a_second_receipt_is_no_second_delivery_and_its_handle_deletes(
    queue: FakeQueue, source: SqsSource
) -> None:
    delivery = await deliver(queue, source)
    first = delivery.receipt_handle
    queue.make_visible(delivery.id)

    assert list(await source.receive()) == []
    assert delivery.receipt_handle != first
    assert delivery.receive_count == 2
    await delivery.acknowledge()
    assert queue.left == 0


async def test_a_receipt_that_comes_while_the_message_is_deleted_is_deleted_as_well(
    queue: FakeQueue, source: SqsSource
) -> None:
    delivery = await deliver(queue, source)
    queue.make_visible(delivery.id)
    acknowledging = asyncio.create_task(delivery.acknowledge())
    await asyncio.sleep(0.1)
    await source.receive()
    await acknowledging

    assert queue.left == 0


async def test_a_message_that_sqs_took_back_is_lost_until_it_is_received_again(
    queue: FakeQueue, source: SqsSource
) -> None:
    delivery = await deliver(queue, source)
    queue.make_visible(delivery.id)
    await asyncio.sleep(22)
    states = [delivery.is_lost]
    with pytest.raises(errors.DeliveryLost):
        await delivery.release(dt.timedelta())

    assert list(await source.receive()) == []
    states.append(delivery.is_lost)
    await asyncio.sleep(60)

    assert states == [True, False]
    assert queue.visible == 0


async def test_a_message_that_was_invisible_for_twelve_hours_is_lost_and_not_extended(
    queue: FakeQueue,
) -> None:
    queue.visibility_timeout = _HOUR
    client = queue.client()
    source = SqsSource(client, clock=clock.LoopClock(_START))
    running = asyncio.create_task(source.run())
    delivery = await deliver(queue, source)

    await asyncio.sleep(12 * _HOUR - 60)
    assert queue.visible == 0
    await asyncio.sleep(2 * 60)
    assert queue.visible == 1
    # It is noticed when the next extension is due.
    await asyncio.sleep(_HOUR)
    assert delivery.is_lost
    running.cancel()
    await asyncio.wait((running,))


async def test_an_extension_that_fails_is_tried_again_before_the_message_reappears(
    queue: FakeQueue, source: SqsSource
) -> None:
    delivery = await deliver(queue, source)
    queue.fail(
        "ChangeMessageVisibilityBatch", *(errors.TemporaryError("throttled") for _ in range(5))
    )
    with structlog.testing.capture_logs() as lines:
        await asyncio.sleep(29)

    assert [line["event"] for line in lines] == ["visibility_not_extended"] * 5
    assert queue.hidden_for(delivery.id) > 9.9
    assert not delivery.is_lost


async def test_without_a_dead_letter_queue_a_rejected_message_is_logged_in_full(
    queue: FakeQueue, source: SqsSource
) -> None:
    delivery = await deliver(queue, source)
    with structlog.testing.capture_logs() as lines:
        await delivery.reject("it is malformed")

    (line,) = lines
    assert line["event"] == "message_malformed_and_no_dead_letter_queue"
    assert (line["reason"], line["body"]) == ("it is malformed", "{}")
    assert queue.left == 1
