"""A person with a dead letter: explained, the settings mended, put back, handled."""

import asyncio
import contextlib
import json
import os
import signal
import sys

from queue_processor.domain import aws_events
from queue_processor.simulator.aws import events
from tests.wiring.conftest import Site

NODE, INSTANCE = "node-a", "i-0123456789abcdef0"


async def messages(site: Site, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run `queue-processor messages`: its exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "queue_processor",
        "messages",
        *arguments,
        env={"PATH": os.environ["PATH"], **site.environment(), **variables},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def allow_receives(site: Site, count: int) -> None:
    """Let the queue put a message aside after so many receives."""
    policy = {"deadLetterTargetArn": site.stack.dead_letter_queue_arn, "maxReceiveCount": count}
    url = site.stack.queue_url
    with contextlib.closing(
        site.aws.session.client("sqs", endpoint_url=site.aws.endpoint_url)
    ) as sqs:
        # moto forgets the queue's own policy when it is not told again.
        kept = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]
        sqs.set_queue_attributes(
            QueueUrl=url,
            Attributes={"Policy": kept["Policy"], "RedrivePolicy": json.dumps(policy)},
        )


async def test_a_dead_letter_is_explained_and_handled_when_a_setting_is_mended(
    site: Site,
) -> None:
    """Nobody selects the node, so that its message goes round until SQS puts it aside."""
    site.cluster.add_node(NODE, instance_id=INSTANCE, labels={"pool": "spot"})
    site.cluster.add_pod("web", node=NODE)
    allow_receives(site, 1)
    wrong = {
        "QUEUE_PROCESSOR_NODE_SELECTOR": "pool=sopt",
        "QUEUE_PROCESSOR_DRAIN__UNKNOWN_INSTANCE_POLICY": "release",
    }
    right = {**wrong, "QUEUE_PROCESSOR_NODE_SELECTOR": "pool=spot"}
    dead_letters = site.stack.dead_letter_queue_url
    operator = await site.start(**wrong)

    site.aws.put_event(aws_events.spot_interruption(INSTANCE, origin=events.new_origin()))
    await site.until(lambda: site.aws.queue_state(dead_letters).visible == 1)
    operator.send(signal.SIGTERM)
    assert await operator.ended() == 0
    (letter,) = site.aws.contents(dead_letters)
    _, before, _ = await messages(site, "explain", letter.message_id, **wrong)
    _, after, _ = await messages(site, "explain", letter.message_id, **right)
    assert "node_selector does not select its node" in before
    assert "goes back to the queue, for another cluster that reads it" in before
    assert "is deleted when every node is done" in after
    assert not site.is_cordoned(NODE)

    await site.start(**right)
    code, out, err = await messages(site, "redrive", "--yes", **right)
    await site.until(site.is_settled)

    assert code == 0, err
    assert "1 messages moved to " in out
    assert site.is_cordoned(NODE)
    assert not site.cluster.store.pods_on(NODE)
    assert site.aws.queue_state(dead_letters).total == 0
