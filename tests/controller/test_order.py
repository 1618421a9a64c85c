"""Order under load: cordons never wait for drains, and the nearest deadline goes first."""

import pytest

from tests.controller import stage

pytestmark = pytest.mark.looptime


async def test_spot_interruptions_are_all_cordoned_before_the_first_rebalance_is(
    world: stage.World,
) -> None:
    world.add_nodes(500)
    await world.start(kubernetes={"requests_in_flight": 4})

    for number in range(0, 500, 2):
        world.send_rebalance(number)
        world.send_spot(number + 1)
    await world.until_settled()

    cordons = world.cluster.history.cordons
    spot = [cordons[f"node-{number}"].at for number in range(1, 500, 2)]
    rebalance = sorted(cordons[f"node-{number}"].at for number in range(0, 500, 2))
    # The first batch is judged before the others have been received.
    assert max(spot) < rebalance[20]


async def test_no_cordon_waits_for_a_drain(world: stage.World) -> None:
    world.add_nodes(60)
    for number in range(50):
        world.cluster.add_replica_set(
            f"db-{number}", replicas=1, labels={"app": f"db-{number}"}, nodes=[f"node-{number}"]
        )
        world.cluster.add_budget(
            f"db-{number}", match_labels={"app": f"db-{number}"}, min_available=1
        )
    await world.start(kubernetes={"requests_in_flight": 2})
    for number in range(50):
        world.send_spot(number)
    await world.until(lambda: world.is_cordoned("node-49"))

    world.send_spot(55)
    took = await world.until(lambda: world.is_cordoned("node-55"), step=0.01)

    assert took < 0.1


async def test_a_storm_settles_every_message_and_breaks_no_budget(world: stage.World) -> None:
    world.add_nodes(50)
    for number in range(25):
        world.cluster.add_replica_set(
            f"web-{number}",
            replicas=10,
            labels={"app": f"web-{number}"},
            nodes=[f"node-{(number + step) % 50}" for step in range(10)],
        )
        world.cluster.add_budget(
            f"web-{number}", match_labels={"app": f"web-{number}"}, max_unavailable="20%"
        )
    await world.start()

    for number in range(20):
        world.send_spot(number)
    await world.until_settled(limit=119)

    assert not any(world.pods_on(f"node-{number}") for number in range(20))
    assert not world.cluster.history.budget_violations
    assert not world.cluster.history.budget_overrides
