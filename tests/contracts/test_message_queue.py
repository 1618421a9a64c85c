"""The contract of SqsQueue, in the event loop and over HTTP."""

import asyncio
import contextlib
import dataclasses
import datetime as dt

import pytest

from queue_processor.domain import errors
from tests.contracts.queues import SqsShell, next_message

_NONE = dt.timedelta()
_LONGEST = dt.timedelta(hours=12)


async def test_a_received_message_is_invisible_until_its_time_is_over(shell: SqsShell) -> None:
    shell.send("one")
    message = await next_message(shell)
    assert (shell.visible(), shell.left()) == (0, 1)

    again = await next_message(shell)

    assert (again.message_id, again.body) == (message.message_id, "one")
    assert again.receipt_handle != message.receipt_handle


async def test_a_message_says_when_it_was_sent_and_how_often_it_was_received(
    shell: SqsShell,
) -> None:
    before = shell.now()
    shell.send("one")
    first = await next_message(shell)
    await shell.queue.hide(first.receipt_handle, _NONE)
    await asyncio.sleep(0.01)
    second = await next_message(shell)

    # SQS counts in milliseconds.
    tolerance = dt.timedelta(milliseconds=1)
    assert first.sent_at is not None
    assert before - tolerance <= first.sent_at <= shell.now() + tolerance
    assert (first.receive_count, second.receive_count) == (1, 2)
    assert second.sent_at == first.sent_at


async def test_a_receive_from_an_empty_queue_ends_with_nothing(shell: SqsShell) -> None:
    assert list(await shell.queue.receive()) == []


async def test_what_is_counted_waits_and_is_not_in_flight(shell: SqsShell) -> None:
    shell.send("one", "two", "three")
    assert await shell.queue.count_waiting() == 3

    received = await shell.queue.receive()

    assert await shell.queue.count_waiting() == 3 - len(received)


async def test_a_receive_wakes_up_for_a_message_that_is_sent_meanwhile(shell: SqsShell) -> None:
    receiving = asyncio.create_task(shell.queue.receive())
    await asyncio.sleep(0.1)
    shell.send("one")

    assert [message.body for message in await receiving] == ["one"]


async def test_ten_messages_come_at_a_time_and_each_of_them_once(shell: SqsShell) -> None:
    bodies = [f"body {number}" for number in range(12)]
    shell.send(*bodies)
    first, second = await shell.queue.receive(), await shell.queue.receive()

    assert (len(first), len(second)) == (10, 2)
    assert sorted(message.body for message in (*first, *second)) == sorted(bodies)


async def test_what_is_deleted_never_comes_again(shell: SqsShell) -> None:
    shell.send("one")
    message = await next_message(shell)
    await shell.queue.delete(message.receipt_handle)

    assert shell.left() == 0


async def test_an_old_handle_deletes_nothing_and_the_newest_does(shell: SqsShell) -> None:
    shell.send("one")
    old = await next_message(shell)
    await shell.queue.hide(old.receipt_handle, _NONE)
    newest = await next_message(shell)

    with contextlib.suppress(errors.StaleReceiptHandle):
        await shell.queue.delete(old.receipt_handle)
    assert shell.left() == 1
    by_old, by_newest = await asyncio.gather(
        shell.queue.delete(old.receipt_handle),
        shell.queue.delete(newest.receipt_handle),
        return_exceptions=True,
    )

    assert by_old is None or isinstance(by_old, errors.StaleReceiptHandle)
    assert by_newest is None
    assert shell.left() == 0


async def test_each_of_many_deletes_has_a_result_of_its_own(shell: SqsShell) -> None:
    shell.send(*(f"body {number}" for number in range(24)))
    handles: list[str] = []
    while len(handles) < 24:
        handles += [message.receipt_handle for message in await shell.queue.receive()]
    handles.insert(12, "never given out")

    results = await asyncio.gather(
        *(shell.queue.delete(handle) for handle in handles), return_exceptions=True
    )

    assert isinstance(results.pop(12), errors.StaleReceiptHandle)
    assert results == [None] * 24
    assert shell.left() == 0


async def test_each_of_many_hides_has_a_result_of_its_own(shell: SqsShell) -> None:
    shell.send("one", "two")
    one, two = await shell.queue.receive()
    # A deletion waits for company, and the other message must not come back meanwhile.
    await asyncio.gather(
        shell.queue.delete(one.receipt_handle),
        shell.queue.hide(two.receipt_handle, dt.timedelta(seconds=30)),
    )

    deleted, kept, unknown = await asyncio.gather(
        shell.queue.hide(one.receipt_handle, _NONE),
        shell.queue.hide(two.receipt_handle, _NONE),
        shell.queue.hide("never given out", _NONE),
        return_exceptions=True,
    )

    assert isinstance(deleted, errors.StaleReceiptHandle)
    assert isinstance(unknown, errors.StaleReceiptHandle)
    assert kept is None
    assert shell.visible() == 1


async def test_hiding_for_no_time_gives_a_message_back_at_once(shell: SqsShell) -> None:
    shell.send("one")
    message = await next_message(shell)
    await shell.queue.hide(message.receipt_handle, _NONE)

    assert shell.visible() == 1


async def test_hiding_extends_the_invisibility_from_now_on(shell: SqsShell) -> None:
    shell.send("one")
    message = await next_message(shell)
    await asyncio.sleep(0.5)
    await shell.queue.hide(message.receipt_handle, dt.timedelta(seconds=1))
    await asyncio.sleep(0.8)
    assert shell.visible() == 0

    assert (await next_message(shell)).receive_count == 2


async def test_a_deleted_message_cannot_be_hidden(shell: SqsShell) -> None:
    shell.send("one")
    message = await next_message(shell)
    await shell.queue.delete(message.receipt_handle)

    with pytest.raises(errors.StaleReceiptHandle):
        await shell.queue.hide(message.receipt_handle, dt.timedelta(seconds=1))


async def test_a_message_that_is_visible_again_or_in_flight_elsewhere_cannot_be_hidden(
    shell: SqsShell,
) -> None:
    shell.send("one")
    message = await next_message(shell)
    await shell.queue.hide(message.receipt_handle, _NONE)
    with pytest.raises(errors.StaleReceiptHandle):
        await shell.queue.hide(message.receipt_handle, dt.timedelta(seconds=1))
    newest = await next_message(shell)

    with pytest.raises(errors.StaleReceiptHandle):
        await shell.queue.hide(message.receipt_handle, _NONE)
    assert shell.visible() == 0
    await shell.queue.hide(newest.receipt_handle, _NONE)
    assert shell.visible() == 1


@pytest.mark.parametrize("duration", [_LONGEST, _LONGEST + dt.timedelta(seconds=1)])
async def test_a_message_cannot_be_hidden_for_over_twelve_hours(
    shell: SqsShell, duration: dt.timedelta
) -> None:
    shell.send("one")
    message = await next_message(shell)
    await asyncio.sleep(0.01)

    with pytest.raises(errors.StaleReceiptHandle):
        await shell.queue.hide(message.receipt_handle, duration)
    await shell.queue.hide(message.receipt_handle, duration - dt.timedelta(minutes=1))


async def test_a_dead_letter_is_a_copy_with_the_reason(shell: SqsShell) -> None:
    shell.send("one")
    message = await next_message(shell)

    assert await shell.queue.dead_letter(message, "it is malformed")
    assert list(shell.dead_letters()) == [("one", "it is malformed")]
    assert shell.left() == 1


async def test_the_largest_message_still_fits_on_the_dead_letter_queue(shell: SqsShell) -> None:
    shell.send("one")
    message = await next_message(shell)
    largest = dataclasses.replace(message, body="x" * 1024 * 1024)

    assert await shell.queue.dead_letter(largest, "it is malformed")
    ((body, _),) = shell.dead_letters()
    assert body == largest.body


async def test_without_a_dead_letter_queue_nothing_is_copied(shell: SqsShell) -> None:
    queue = await shell.without_dead_letters()
    shell.send("one")
    message = await next_message(shell)

    assert not await queue.dead_letter(message, "it is malformed")


async def test_a_receive_that_is_cancelled_loses_no_message(shell: SqsShell) -> None:
    receiving = asyncio.create_task(shell.queue.receive())
    await asyncio.sleep(0.1)
    receiving.cancel()
    await asyncio.wait((receiving,))
    shell.send("one")

    assert (await next_message(shell)).body == "one"
