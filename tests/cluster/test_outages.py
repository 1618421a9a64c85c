"""Outages during a drain: of the leader, the API server, the node."""

import asyncio
from collections.abc import Mapping

import pytest

from tests import operators
from tests.cluster.manifests import PodShape
from tests.cluster.site import Site

GOING = [("node-0", "i-00000000000000000"), ("node-1", "i-00000000000000001")]
SPARE = [("node-2", "i-00000000000000002"), ("node-3", "i-00000000000000003")]
NAMES = {name for name, _ in GOING}
REPLICAS = 8
MAY_BE_AWAY = 2
_BLOCKED = 429
PATIENT = operators.election(lease=15, renew=10, retry=2)
HASTY = operators.election(lease=2, renew=1, retry=0.2)


async def _begin(scene: Site) -> None:
    await scene.world.make_nodes(GOING)
    on = {name: REPLICAS // len(GOING) for name in NAMES}
    await scene.world.make_replicas("web", PodShape(exits_after="300ms", grace_seconds=11), on)
    await scene.world.make_budget("web", maxUnavailable=MAY_BE_AWAY)


async def _until_in_mid_drain(scene: Site) -> None:
    """Two pods are gone, and the budget blocks the others: there is no node for replacements.

    One that the scheduler binds between the two cordons is one pod more, and moved like all others.

    Nothing is taken away before that: an eviction whose client is gone may still take its part of
    the budget, and holds it for two minutes although the pod stays.
    """
    for _, instance in GOING:
        scene.interrupt(instance)

    def blocked() -> set[str]:
        evictions = scene.audit.made("create", "pods/eviction")
        return {eviction.name for eviction in evictions if eviction.code == _BLOCKED}

    await scene.until(lambda: len(blocked()) >= REPLICAS - MAY_BE_AWAY)
    await scene.until(lambda: {pod.name for pod in scene.history.left_on(*NAMES)} <= blocked())
    assert not scene.is_settled()


async def _until_over(scene: Site) -> None:
    await scene.world.make_nodes(SPARE)
    await scene.until(scene.is_settled)


async def _assert_drained(scene: Site) -> None:
    await scene.world.until_running("web", REPLICAS)
    for name in NAMES:
        node = await scene.world.node(name)
        assert node is not None
        assert node["spec"]["unschedulable"]
        assert await scene.world.pods_on(name) == []
    gone = scene.history.told_to_go()
    assert {pod.node for pod in gone} == NAMES
    assert len(gone) >= REPLICAS
    assert {pod.granted_seconds for pod in gone} == {11}
    assert scene.history.lowest("web") >= REPLICAS - MAY_BE_AWAY
    assert scene.history.marked == NAMES
    assert scene.audit.made("delete", "pods") == []


async def test_the_standby_ends_what_a_killed_leader_began(scene: Site) -> None:
    await _begin(scene)
    leader = await scene.lead()
    standby = await scene.start()
    before = await scene.holder()

    async with scene.history.watching():
        await _until_in_mid_drain(scene)
        await leader.kill()
        await scene.until(lambda: bool(standby.logged("leadership_acquired")))
        await _until_over(scene)
        await _assert_drained(scene)

    assert await scene.holder() not in {"", before}


@pytest.mark.parametrize(
    ("election", "outlasts_lease"),
    [
        pytest.param(PATIENT, False, id="sooner-than-the-lease-ends"),
        pytest.param(HASTY, True, id="later-than-the-lease-ends"),
    ],
)
async def test_an_api_server_that_is_killed_and_comes_back_delays_a_drain(
    scene: Site, election: Mapping[str, str], *, outlasts_lease: bool
) -> None:
    await _begin(scene)
    operator = await scene.lead(**election)
    plane = scene.world.plane

    async with scene.history.watching():
        await _until_in_mid_drain(scene)
        assert scene.audit.refused() == []
        plane.kill("kube-apiserver")
        if outlasts_lease:
            await scene.until(lambda: bool(operator.logged("leadership_lost")))
        plane.launch("kube-apiserver")
        await asyncio.to_thread(plane.await_ready)
        # It answers before it has read the roles.
        scene.audit.excuse()
        await _until_over(scene)
        await _assert_drained(scene)

    led = [line for line in operator.lines() if line["event"] == "leadership_acquired"]
    assert len(led) == (2 if outlasts_lease else 1)


async def test_a_node_that_is_deleted_in_mid_drain_ends_its_drain_and_no_other(
    scene: Site,
) -> None:
    await _begin(scene)
    operator = await scene.lead()

    async with scene.history.watching():
        await _until_in_mid_drain(scene)
        await scene.world.delete("/api/v1/nodes/node-0")
        await scene.until(lambda: "node_gone" in operator.logged("outcome").get("reason", ""))
        assert not scene.is_settled()
        await _until_over(scene)

    assert await scene.world.node("node-0") is None
    assert await scene.world.pods_on("node-1") == []
    assert scene.history.marked == NAMES
    # Perhaps none of the pods that went first was on the node that is gone.
    assert {pod.node for pod in scene.history.told_to_go()} <= NAMES
