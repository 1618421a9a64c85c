"""The program as a process that may do in AWS what its role allows, and no more."""

import contextlib
import datetime as dt
import pathlib
import re
from collections.abc import AsyncIterator

import pytest

from queue_processor.domain.events import LifecycleTransition
from queue_processor.simulator.aws import lifecycle, simulator
from queue_processor.simulator.kube import manifests
from tests import operators
from tests.infra import pod
from tests.wiring.conftest import Site


@pytest.fixture
async def site(aws: simulator.AwsSimulator, tmp_path: pathlib.Path) -> AsyncIterator[Site]:
    """A node whose instance is in a group with a hook, a message that is no event, and a role."""
    aws.reset()
    made = Site(aws, aws.deploy(parameters=pod.PARAMETERS), tmp_path)
    await made.http.start()
    (instance_id,) = aws.launch(1, tags={pod.TAG: ""})
    hook = lifecycle.SimulatedLifecycleHook(
        pod.GROUP,
        pod.HOOK,
        LifecycleTransition.TERMINATING,
        heartbeat_timeout=dt.timedelta(seconds=4),
    )
    aws.create_auto_scaling_group(pod.GROUP, [instance_id], [hook])
    made.cluster.add_node("node-a", instance_id=instance_id)
    # Longer than half of the heartbeat's timeout, and than a third of the visibility's.
    made.cluster.add_pod("slow", node="node-a", spec=manifests.PodSpec(exit_seconds=3))
    aws.send_raw("{}", queue_url=made.stack.queue_url)
    yield made
    await made.close()


@pytest.fixture
def cloud(site: Site) -> pod.Cloud:
    return pod.in_simulator(site.aws, site.stack)


@contextlib.asynccontextmanager
async def guarded(site: Site, cloud: pod.Cloud) -> AsyncIterator[operators.OperatorProcess]:
    """An operator with the role of the pod, where policies are applied, and a termination.

    The instance is terminated only now: the hook waits for less time than the program may need to
    start.
    """
    credentials = cloud.assume().get_credentials()
    assert credentials is not None
    assert credentials.token is not None
    with cloud.enforcing():
        operator = await site.start(
            AWS_ACCESS_KEY_ID=credentials.access_key,
            AWS_SECRET_ACCESS_KEY=credentials.secret_key,
            AWS_SESSION_TOKEN=credentials.token,
            QUEUE_PROCESSOR_MANAGED_TAG=pod.TAG,
        )
        node = site.cluster.store.node("node-a")
        assert node is not None
        site.aws.terminate_in_group(node.spec["providerID"].rpartition("/")[2])
        yield operator


def refusals(operator: operators.OperatorProcess) -> set[str]:
    """The actions for which it was not allowed to ask."""
    return set(re.findall(r"not authorized to perform: ([\w:]+)", str(operator.lines())))


async def test_the_role_is_enough_for_the_whole_program(site: Site, cloud: pod.Cloud) -> None:
    async with guarded(site, cloud) as operator:
        await site.until(site.is_settled)

    assert refusals(operator) == set()
    assert not site.cluster.store.pods_on("node-a")
    (action,) = site.aws.lifecycle_actions()
    assert action.result is lifecycle.LifecycleActionResult.CONTINUE
    assert action.heartbeats
    (letter,) = site.aws.dead_letters(site.stack.queue_url)
    assert letter.body == "{}"


async def test_what_the_role_lacks_is_in_the_log_and_its_message_stays(
    site: Site, cloud: pod.Cloud
) -> None:
    cloud.take_away("autoscaling:CompleteLifecycleAction")

    async with guarded(site, cloud) as operator:
        await site.until(lambda: bool(refusals(operator)))

    assert refusals(operator) == {"autoscaling:CompleteLifecycleAction"}
    assert not site.is_settled()
    (action,) = site.aws.lifecycle_actions()
    assert action.result is None
