"""Webhook notifications report drains and never delay them."""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator

import prometheus_client
import pytest
import structlog

from queue_processor.domain import aws_events
from queue_processor.simulator.kube import manifests
from tests.controller import stage
from tests.fakes.receiver import HIDDEN, Behaviour, Receiver

pytestmark = pytest.mark.looptime

NOBODY = f"http://127.0.0.1:9/{HIDDEN}"
"""The port of the discard service, on which nobody listens."""


def _notifications(outcome: str) -> tuple[float, float]:
    """The notifications of the start, and of the end, that had this outcome so far."""

    def read(phase: str) -> float:
        labels = {"phase": phase, "outcome": outcome}
        series = "queue_processor_webhook_notifications_total"
        return prometheus_client.REGISTRY.get_sample_value(series, labels) or 0.0

    return read("drain_start"), read("drain_end")


def _more(before: tuple[float, float], now: tuple[float, float]) -> tuple[float, float]:
    return now[0] - before[0], now[1] - before[1]


async def _drain(world: stage.World, number: int) -> float:
    """Interrupt a node, whose pods take 25 s to stop; how long its message was there."""
    world.cluster.add_pod(
        f"slow-{number}", node=f"node-{number}", spec=manifests.PodSpec(exit_seconds=25)
    )
    loop = asyncio.get_running_loop()
    began = loop.time()
    message_id = world.send_spot(number)
    await world.until(lambda: message_id in world.queue.deleted, limit=130)
    deleted = [at for call, at in world.queue.calls if call == "DeleteMessageBatch"]
    return deleted[-1] - began


@contextlib.asynccontextmanager
async def _nobody() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    receiver.url = NOBODY
    yield receiver


@pytest.mark.parametrize("behaviour", [*Behaviour, None], ids=lambda each: each and each.value)
async def test_a_receiver_changes_nothing_about_when_a_drain_ends(
    world: stage.World, behaviour: Behaviour | None
) -> None:
    world.add_nodes(3)
    plain = await world.start("plain")
    expected = await _drain(world, 0)
    await plain.stop()
    delivered, failed = _notifications("delivered"), _notifications("failed")

    listening = _nobody() if behaviour is None else Receiver(behaviour).listening()
    async with listening as receiver:
        with structlog.testing.capture_logs() as lines:
            telling = await world.start(
                "telling", webhooks=[{"url": receiver.url, "template": "slack"}]
            )
            took = await _drain(world, 1)
            await asyncio.sleep(300)
        crash = telling.crash()
        await telling.stop()

    assert took == pytest.approx(expected, abs=0.001)
    assert crash is None
    takes = behaviour in {
        Behaviour.TAKES,
        Behaviour.TAKES_IT_THE_SECOND_TIME,
        Behaviour.HANGS_IN_THE_BODY,
    }
    assert _more(delivered, _notifications("delivered")) == ((1, 1) if takes else (0, 0))
    assert _more(failed, _notifications("failed")) == ((0, 0) if takes else (1, 1))
    warnings = [line for line in lines if line["event"] == "webhook_failed"]
    assert len(warnings) == (0 if takes else 2)
    assert HIDDEN not in str(lines)
    assert HIDDEN not in prometheus_client.generate_latest().decode()


@pytest.mark.parametrize(
    ("behaviour", "attempts"),
    [
        (Behaviour.TAKES, 1),
        (Behaviour.TAKES_IT_THE_SECOND_TIME, 2),
        (Behaviour.HANGS, 4),
        (Behaviour.ANSWERS_500, 4),
        (Behaviour.ASKS_TO_WAIT, 4),
        (Behaviour.RESETS, 4),
        (Behaviour.REFUSES, 1),
        (Behaviour.REDIRECTS, 1),
    ],
)
async def test_what_may_succeed_later_is_tried_again_and_nothing_else(
    world: stage.World, behaviour: Behaviour, attempts: int
) -> None:
    world.add_nodes(1)
    async with Receiver(behaviour).listening() as receiver:
        operator = await world.start(webhooks=[{"url": receiver.url, "phases": ["drain_end"]}])
        world.send_spot(0)
        await world.until_settled()
        await asyncio.sleep(300)
        await operator.stop()

    assert [post.path for post in receiver.posts] == [f"/{HIDDEN}"] * attempts
    pauses = [post.at - receiver.posts[0].at for post in receiver.posts[1:]]
    if behaviour is Behaviour.ASKS_TO_WAIT:
        # It asks for an hour, and gets half a minute.
        assert pauses == pytest.approx([30, 60, 90], abs=0.5)
    else:
        assert all(pause < 60 for pause in pauses)


async def test_the_start_and_the_end_of_a_drain_are_told_in_their_order(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=5))
    async with Receiver().listening() as receiver:
        await world.start(webhooks=[{"url": receiver.url, "cluster": "blue"}])
        world.queue.send(_spot(world, event_id="e-1"))
        await world.until_settled()
        await asyncio.sleep(1)

    start, end = (post.body for post in receiver.posts)
    assert (start["phase"], end["phase"]) == ("drain_start", "drain_end")
    for notification in (start, end):
        assert (notification["cluster"], notification["node"]) == ("blue", "node-0")
        assert (notification["kind"], notification["event_id"]) == ("spot_interruption", "e-1")
        assert notification["instance_id"] == stage.instance(0)
        assert notification["deadline"] == "2026-05-01T12:02:00+00:00"
    assert (start["result"], start["seconds"], start["evicted"]) == (None, None, None)
    assert (end["result"], end["evicted"], end["left"]) == ("drained", 1, [])
    assert end["seconds"] == pytest.approx(5, abs=0.2)
    assert end["margin_seconds"] == pytest.approx(115, abs=0.5)
    assert start["summary"] == (
        "blue: draining node-0 (spot_interruption), the instance goes at 12:02:00 UTC"
    )
    assert end["summary"] == "blue: node-0 drained: 1 pods evicted"


async def test_events_that_join_a_drain_are_not_told_again(world: stage.World) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=5))
    async with Receiver().listening() as receiver:
        await world.start(webhooks=[{"url": receiver.url}])
        world.send_rebalance(0)
        await asyncio.sleep(1)
        world.send_spot(0)
        await world.until_settled()
        await asyncio.sleep(1)

    phases_and_kinds = [(post.body["phase"], post.body["kind"]) for post in receiver.posts]
    # The event whose deadline rules is named: at the end that is the later one.
    assert phases_and_kinds == [
        ("drain_start", "rebalance_recommendation"),
        ("drain_end", "spot_interruption"),
    ]


async def test_a_receiver_that_hangs_does_not_keep_another_waiting(world: stage.World) -> None:
    world.add_nodes(1)
    async with Receiver(Behaviour.HANGS).listening() as stuck, Receiver().listening() as well:
        operator = await world.start(webhooks=[{"url": stuck.url}, {"url": well.url}])
        world.send_spot(0)
        await world.until_settled()
        await asyncio.sleep(1)
        assert len(well.posts) == 2
        await operator.stop()


async def test_a_url_and_headers_that_change_in_their_files_hold_from_the_next_notice_on(
    world: stage.World, tmp_path: pathlib.Path
) -> None:
    world.add_nodes(2)
    url, headers = tmp_path / "url", tmp_path / "headers"
    async with Receiver().listening() as old, Receiver().listening() as new:
        url.write_text(f"{old.url}\n", encoding="utf-8")
        headers.write_text("Authorization: Bearer old\n\nX-Team: a: b\n", encoding="utf-8")
        await world.start(
            webhooks=[{"url_file": str(url), "headers_file": str(headers), "phases": ["drain_end"]}]
        )
        world.send_spot(0)
        await world.until_settled()
        await asyncio.sleep(1)
        url.write_text(new.url, encoding="utf-8")
        headers.write_text("Authorization: Bearer new\n", encoding="utf-8")
        world.send_spot(1)
        await world.until_settled()
        await asyncio.sleep(1)

    (before,), (after,) = old.posts, new.posts
    assert (before.headers["Authorization"], before.headers["X-Team"]) == ("Bearer old", "a: b")
    assert after.headers["Authorization"] == "Bearer new"
    assert before.headers["Content-Type"] == "application/json"


async def test_a_proxy_is_taken_from_the_environment(
    world: stage.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_nodes(1)
    async with Receiver().listening() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix(f"/{HIDDEN}"))
        await world.start(webhooks=[{"url": "http://hooks.invalid/drains"}])
        world.send_spot(0)
        await world.until_settled()
        await asyncio.sleep(1)

    assert [(post.headers["Host"], post.path) for post in proxy.posts] == [
        ("hooks.invalid", "/drains")
    ] * 2


async def test_a_receiver_in_an_excluded_network_is_not_reached_through_the_proxy(
    world: stage.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_nodes(1)
    async with Receiver().listening() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix(f"/{HIDDEN}"))
        monkeypatch.setenv("no_proxy", "192.0.2.0/24")
        await world.start(webhooks=[{"url": "http://192.0.2.1/drains", "timeout_seconds": 1}])
        world.send_spot(0)
        await world.until_settled()
        await asyncio.sleep(10)

    assert not proxy.posts


@pytest.mark.parametrize("content", [None, f"no address: {HIDDEN}", b"\xff"])
async def test_a_url_file_that_gets_lost_or_broken_costs_the_notice_and_nothing_else(
    world: stage.World, tmp_path: pathlib.Path, content: str | bytes | None
) -> None:
    world.add_nodes(1)
    url = tmp_path / "url"
    url.write_text(NOBODY, encoding="utf-8")
    failed = _notifications("failed")
    with structlog.testing.capture_logs() as lines:
        await world.start(webhooks=[{"url_file": str(url)}])
        if content is None:
            url.unlink()
        else:
            url.write_bytes(content if isinstance(content, bytes) else content.encode())
        world.send_spot(0)
        await world.until_settled()
        await asyncio.sleep(1)

    assert _more(failed, _notifications("failed")) == (1, 1)
    faults = [line["error"] for line in lines if line["event"] == "webhook_failed"]
    assert all(str(url) in fault for fault in faults)
    assert HIDDEN not in str(lines)


def _spot(world: stage.World, *, event_id: str) -> aws_events.Event:
    return aws_events.spot_interruption(stage.instance(0), origin=world.origin(event_id=event_id))
