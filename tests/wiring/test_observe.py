"""The program with `mode: observe`, as processes."""

from queue_processor.domain import aws_events
from queue_processor.domain.events import LifecycleTransition
from queue_processor.simulator.aws import events, lifecycle
from queue_processor.simulator.kube import resources
from tests.wiring.conftest import Site

READS = {"get", "list", "watch"}
# It asks what it is allowed to do.
REVIEW = ("create", resources.ACCESS_REVIEWS.plural)


async def test_two_observers_share_a_queue_and_change_nothing(site: Site) -> None:
    (terminating,) = site.aws.launch(1)
    hook = lifecycle.SimulatedLifecycleHook("workers", "drain", LifecycleTransition.TERMINATING)
    site.aws.create_auto_scaling_group("workers", [terminating], [hook])
    instances = [terminating, *(f"i-{number:017x}" for number in range(5))]
    for number, instance_id in enumerate(instances):
        site.cluster.add_node(f"node-{number}", instance_id=instance_id)
        site.cluster.add_pod(f"web-{number}", node=f"node-{number}")
    for _ in range(2):
        await site.start(QUEUE_PROCESSOR_MODE="observe")

    site.aws.terminate_in_group(terminating)
    for instance_id in instances[1:]:
        site.aws.put_event(aws_events.spot_interruption(instance_id, origin=events.new_origin()))
    site.aws.send_raw("{}", queue_url=site.stack.queue_url)
    await site.until(site.is_settled)

    lines = [line for process in site.processes for line in process.lines()]
    plans = {line["node"]: line for line in lines if line["event"] == "plan_observed"}
    assert {name: plan["evicted"] for name, plan in plans.items()} == {
        f"node-{number}": [f"default/web-{number}"] for number in range(6)
    }
    assert plans["node-0"]["lifecycle_hook"] == {"group": "workers", "name": "drain"}
    assert [line["event"] for line in lines].count("observing") == 2
    requests = {(kind.verb, kind.resource) for kind in site.cluster.history.requests}
    assert {each for each in requests if each[0] not in READS} == {REVIEW}
    (action,) = site.aws.lifecycle_actions()
    assert (action.result, list(action.heartbeats)) == (None, [])
    (letter,) = site.aws.dead_letters(site.stack.queue_url)
    assert letter.body == "{}"
