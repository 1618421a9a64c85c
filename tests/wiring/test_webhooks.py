"""Webhooks of the program as a process."""

import asyncio
import json
import pathlib
import signal

import pytest

from queue_processor.domain import aws_events
from queue_processor.simulator.aws import events
from tests.fakes.receiver import HIDDEN, Behaviour, Receiver
from tests.wiring.conftest import Site


def _instance(number: int) -> str:
    return f"i-{number:017x}"


@pytest.mark.parametrize("behaviour", [Behaviour.TAKES, Behaviour.HANGS])
async def test_a_process_tells_of_its_drains_and_stops_as_soon_as_without(
    site: Site, tmp_path: pathlib.Path, behaviour: Behaviour
) -> None:
    site.cluster.add_node("node-0", instance_id=_instance(0))
    url = tmp_path / "url"
    async with Receiver(behaviour).listening() as receiver:
        url.write_text(receiver.url, encoding="utf-8")
        webhooks = [{"url_file": str(url), "template": "slack", "cluster": "blue"}]
        operator = await site.start(QUEUE_PROCESSOR_WEBHOOKS=json.dumps(webhooks))

        site.aws.put_event(aws_events.spot_interruption(_instance(0), origin=events.new_origin()))
        await site.until(site.is_settled)
        await asyncio.sleep(0.5)
        operator.send(signal.SIGTERM)
        code = await operator.ended(limit=10)

    assert code == 0
    assert operator.logged("stopped")
    titles = [post.body["text"] for post in receiver.posts]
    assert titles[0].startswith("blue: draining node-0 (spot_interruption), the instance goes at")
    if behaviour is Behaviour.TAKES:
        assert titles[1:] == ["blue: node-0 drained: 0 pods evicted"]
    else:
        assert operator.logged("webhook_notifications_not_sent")["count"] == 1
    assert HIDDEN not in json.dumps(operator.lines())
