"""The program as a process, in an account where another cluster has Auto Scaling groups, too."""

import datetime as dt

from queue_processor.domain.events import LifecycleTransition
from queue_processor.simulator.aws import lifecycle
from tests.wiring.conftest import Site


def _create_group(site: Site, name: str) -> tuple[str, ...]:
    """Create a group of two instances, whose terminations wait for a minute."""
    instance_ids = site.aws.launch(2)
    hook = lifecycle.SimulatedLifecycleHook(
        name,
        "drain",
        LifecycleTransition.TERMINATING,
        heartbeat_timeout=dt.timedelta(minutes=1),
    )
    site.aws.create_auto_scaling_group(name, instance_ids, [hook])
    return instance_ids


async def test_of_two_groups_whose_instances_never_joined_only_the_own_one_goes_on(
    site: Site,
) -> None:
    ours, theirs = _create_group(site, "ours"), _create_group(site, "theirs")
    site.cluster.add_node("node-a", instance_id=ours[0])
    operator = await site.start(QUEUE_PROCESSOR_DRAIN__UNKNOWN_INSTANCE_GRACE_SECONDS="0")

    for instance_id in (ours[1], theirs[1]):
        site.aws.terminate_in_group(instance_id)
    await site.until(site.is_settled)

    results = {action.instance_id: action.result for action in site.aws.lifecycle_actions()}
    assert results == {
        ours[1]: lifecycle.LifecycleActionResult.CONTINUE,
        theirs[1]: None,
    }
    left = operator.logged("lifecycle_action_left")
    assert (left["level"], left["group"], left["instance_id"]) == ("warning", "theirs", theirs[1])
