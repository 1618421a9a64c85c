"""The operator handles the events that `messages send` sends."""

import asyncio
import json
import os
import sys
from typing import Any

from queue_processor.simulator.kube import manifests
from tests.wiring.conftest import Site

PROTECTED = "queue-processor/protected"


def _instance(number: int) -> str:
    return f"i-{number:017x}"


async def _send(site: Site, *arguments: str) -> Any:  # noqa: ANN401 - it is JSON
    """Run the command to its end; what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "queue_processor", "messages", "send"),
        *(*arguments, "--yes", "--output", "json"),
        env={"PATH": os.environ["PATH"], **site.environment()},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


def _pods(site: Site, names: set[str]) -> int:
    return sum(len(site.cluster.store.pods_on(name)) for name in names)


async def test_the_nodes_of_a_storm_are_drained_and_no_others(site: Site) -> None:
    for number in range(12):
        labels = {"pool": "spot" if number < 8 else "on-demand"}
        if number in {0, 3}:
            labels[PROTECTED] = "yes"
        site.cluster.add_node(f"node-{number:02}", instance_id=_instance(number), labels=labels)
        spec = manifests.PodSpec(exit_seconds=0.2)
        site.cluster.add_pod(f"pod-{number}", node=f"node-{number:02}", spec=spec)
    operator = await site.start()

    result = await _send(
        site, "spot_interruption", "-l", "pool=spot", "--storm", "3", "--spread", "1s"
    )
    await site.until(site.is_settled)

    drained = {each["node"] for each in result["sent"]}
    others = {f"node-{number:02}" for number in range(12)} - drained
    assert drained == {"node-01", "node-04", "node-06"}
    assert (_pods(site, drained), _pods(site, others)) == (0, 9)
    assert {name for name in drained | others if site.is_cordoned(name)} == drained
    planned = {line["event_id"] for line in operator.lines() if line["event"] == "plan"}
    assert planned == {each["event_id"] for each in result["sent"]}


async def test_a_scheduled_change_is_announced_and_cancelled(site: Site) -> None:
    site.cluster.add_node("node-0", instance_id=_instance(0))
    await site.start()

    await _send(site, "scheduled_change", "--starts-in", "1h", "--node", "node-0")
    await site.until(site.is_settled)
    was_cordoned = site.is_cordoned("node-0")
    await _send(site, "scheduled_change", "--status", "closed", "--node", "node-0")
    await site.until(lambda: site.is_settled() and not site.is_cordoned("node-0"))

    assert was_cordoned


async def test_a_lifecycle_action_that_nobody_waits_for_is_settled(site: Site) -> None:
    site.cluster.add_node("node-0", instance_id=_instance(0))
    site.cluster.add_pod("pod", node="node-0", spec=manifests.PodSpec(exit_seconds=0.2))
    await site.start()

    await _send(
        site, "autoscaling_termination", "--group", "web", "--hook", "drain", "--node", "node-0"
    )
    await site.until(site.is_settled)

    assert _pods(site, {"node-0"}) == 0
