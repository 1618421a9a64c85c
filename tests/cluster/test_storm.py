"""A hundred nodes at once."""

from tests import operators
from tests.cluster import manifests
from tests.cluster.manifests import PodShape
from tests.cluster.site import Site

GOING, STAYING, PODS_EACH, OWNED_EACH = 100, 20, 5, 2
APPS = 10
ON_STAYING, MAY_BE_AWAY = 5, 10
# Nothing here is about a new leader, and a busy machine stands still for seconds.
PATIENT = {
    **operators.election(lease=15, renew=10, retry=2),
    "QUEUE_PROCESSOR_SOURCES__SQS__VISIBILITY_TIMEOUT_SECONDS": "30",
}


def _node(number: int) -> tuple[str, str]:
    return f"node-{number}", f"i-{number:017x}"


async def test_a_storm_of_100_nodes_leaves_none_of_them_and_touches_no_other(scene: Site) -> None:
    """Of the five pods of each node that goes, two are owned and under a budget."""
    world = scene.world
    going = [_node(number) for number in range(GOING)]
    staying = [_node(number) for number in range(GOING, GOING + STAYING)]
    names = {name for name, _ in going}
    await world.make_nodes([*going, *staying])
    shape = PodShape(exits_after="100ms", grace_seconds=9)
    owned = GOING * OWNED_EACH // APPS
    for app in range(APPS):
        places = {going[(owned * app + step) % GOING][0]: 1 for step in range(owned)}
        await world.make_replicas(f"web-{app}", shape, {**places, staying[app][0]: ON_STAYING})
        await world.make_budget(f"web-{app}", maxUnavailable=MAY_BE_AWAY)
    await world.create_all(
        manifests.pod(f"bare-{name}-{number}", shape, node_name=name)
        for name, _ in going
        for number in range(PODS_EACH - OWNED_EACH)
    )
    await scene.lead(**PATIENT)

    async with scene.history.watching():
        before = {pod.uid for pod in scene.history.left_on(*names)}
        assert len(before) == GOING * PODS_EACH
        for _, instance in going:
            scene.interrupt(instance)
        await scene.until(scene.is_settled)
        for app in range(APPS):
            await world.until_running(f"web-{app}", owned + ON_STAYING)

    assert scene.history.marked == names
    for name in names:
        node = await world.node(name)
        assert node is not None
        assert node["spec"]["unschedulable"]
    assert scene.history.left_on(*names) == []
    gone = scene.history.told_to_go()
    # A replacement may have come to a node whose turn came later.
    assert {pod.uid for pod in gone} >= before
    assert {pod.node for pod in gone} == names
    assert {pod.granted_seconds for pod in gone} == {9}
    for app in range(APPS):
        assert scene.history.lowest(f"web-{app}") >= owned + ON_STAYING - MAY_BE_AWAY
    assert scene.audit.made("delete", "pods") == []
    assert {request.name for request in scene.audit.made("patch", "nodes")} == names
