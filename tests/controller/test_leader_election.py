"""Leader election: which process works, and what happens to its work when that changes."""

import asyncio
import datetime as dt

import pytest
import structlog

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.leases import KubeLeases
from queue_processor.controller.leader_election import LeaderElector
from queue_processor.domain.leases import LeaseTimes
from queue_processor.observability.health import Liveness
from queue_processor.simulator.kube import faults, manifests, resources
from tests.controller import stage
from tests.fakes.cluster import DirectTransport

pytestmark = pytest.mark.looptime


def _holder(world: stage.World) -> str:
    leases = list(world.cluster.store.every(resources.LEASES))
    return next((lease.spec.get("holderIdentity") or "" for lease in leases), "")


async def test_only_the_leader_receives(world: stage.World) -> None:
    world.add_nodes(2)
    await world.start("one")
    await world.start("two")

    world.send_spot(0)
    await world.until_settled()
    await asyncio.sleep(30)

    assert _holder(world) == "one"
    assert set(world.cluster.history.writers) <= {"one"}


async def test_a_clean_stop_hands_back_the_messages_and_then_the_leadership(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=25))
    one = await world.start("one")
    await world.start("two")

    message_id = world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    await asyncio.sleep(3)
    await one.stop()
    assert world.queue.visible == 1
    took = await world.until(lambda: world.queue.receive_count(message_id) == 2)
    await world.until_settled()

    assert took < 3
    assert _holder(world) == "two"
    assert not world.pods_on("node-0")


async def test_a_leader_that_stops_has_the_answer_to_its_last_eviction_before_another_leads(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=25))
    one = await world.start("one")
    await world.start("two")
    # Slower than the last receive, which a stop waits for, too.
    world.server.faults.add(
        faults.Fault(faults.Delay(3), method="POST", path=".*/eviction", times=1)
    )

    world.send_spot(0)
    await world.until(lambda: not world.server.faults.pending)
    stopping = asyncio.create_task(one.stop())
    await world.until(lambda: _holder(world) != "one", step=0.01)

    granted = [each.by for each in world.cluster.history.evictions if each.is_granted]
    assert granted == ["one"]
    await stopping
    await world.until_settled()


async def test_each_stop_with_an_open_long_poll_costs_one_receive(world: stage.World) -> None:
    world.add_nodes(1)
    world.cluster.add_pod(
        "slow", node="node-0", spec=manifests.PodSpec(exit_seconds=600, grace_seconds=900)
    )
    message_id = world.send_termination(0)

    for stops in range(1, 4):
        process = await world.start(f"process-{stops}")
        await asyncio.sleep(3.3)
        await process.stop()
        assert world.queue.visible == 1
        assert world.queue.receive_count(message_id) == stops


async def test_after_a_kill_the_standby_takes_over_within_a_lease_duration_and_a_retry(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod(
        "slow", node="node-0", spec=manifests.PodSpec(exit_seconds=60, grace_seconds=90)
    )
    one = await world.start("one")
    await world.start("two")

    world.send_termination(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    await one.kill()
    took = await world.until(lambda: _holder(world) == "two")
    await world.until_settled(limit=90)

    record = world.lifecycle.records[stage.instance(0)]
    (slow,) = world.cluster.history.pods
    assert took < 17.5
    assert record.completions == 1
    assert record.completed_at is not None
    assert slow.removed is not None
    assert record.completed_at >= slow.removed


@pytest.mark.parametrize(
    ("successor", "at_least", "at_most"),
    [
        ("operator-x2v_uid-1_b", 0, 1),
        ("operator-x2v_uid-2_b", 14, 18),
        ("operator-k9w_uid-1_b", 14, 18),
        ("operator-x2v_b", 14, 18),
    ],
)
async def test_a_restarted_container_takes_over_from_its_predecessor_in_the_same_pod_at_once(
    world: stage.World, successor: str, at_least: float, at_most: float
) -> None:
    first = await world.start("operator-x2v_uid-1_a")
    await world.until(lambda: _holder(world) == "operator-x2v_uid-1_a")
    await first.kill()

    await world.start(successor)
    took = await world.until(lambda: _holder(world) == successor)

    assert at_least <= took <= at_most


@pytest.mark.parametrize("lag", [0.1, 0.6, 1.1, 1.6])
async def test_a_takeover_after_a_kill_comes_in_time_wherever_the_retries_of_the_standby_are(
    world: stage.World, lag: float
) -> None:
    """The Lease is free after 15 s, which is not a multiple of the 2 s of a retry."""
    one = await world.start("one")
    await asyncio.sleep(lag)
    await world.start("two")

    def version() -> str:
        (lease,) = world.cluster.store.every(resources.LEASES)
        return str(lease.metadata["resourceVersion"])

    before = version()
    await world.until(lambda: version() != before, step=0.01)
    killed_at = asyncio.get_running_loop().time()
    await one.kill()
    await world.until(lambda: _holder(world) == "two", step=0.01)

    assert asyncio.get_running_loop().time() - killed_at < 15 + 2 + 0.1


async def test_a_leader_that_cannot_reach_the_api_server_stops_before_another_takes_over(
    world: stage.World,
) -> None:
    world.add_nodes(40)
    for number in range(20):
        world.cluster.add_replica_set(
            f"web-{number}",
            replicas=5,
            labels={"app": f"web-{number}"},
            nodes=[f"node-{number}"],
            startup_seconds=4,
        )
        world.cluster.add_budget(
            f"web-{number}", match_labels={"app": f"web-{number}"}, max_unavailable=1
        )
    one = await world.start("one")
    await world.start("two")

    for number in range(20):
        world.send_spot(number)
    await world.until(lambda: world.is_cordoned("node-19"))
    await asyncio.sleep(4)
    one.transport.cut()
    await world.until(lambda: _holder(world) == "two")
    one.transport.is_reachable = True
    await world.until_settled(limit=130)

    writers = world.cluster.history.writers
    assert set(writers) == {"one", "two"}
    assert max(writers["one"]) < min(writers["two"])
    assert world.queue.left == 0


async def test_a_leader_that_lost_the_lease_stands_by_and_can_lead_again(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    one = await world.start("one")
    two = await world.start("two")
    one.transport.cut()
    await world.until(lambda: _holder(world) == "two")
    one.transport.is_reachable = True
    await two.stop()
    await world.until(lambda: _holder(world) == "one", limit=5)

    world.send_spot(0)
    await world.until_settled()

    assert world.is_cordoned("node-0")


async def test_an_outage_of_five_seconds_costs_no_leadership(world: stage.World) -> None:
    world.add_nodes(1)
    one = await world.start("one")
    one.transport.cut()
    await asyncio.sleep(5)
    one.transport.is_reachable = True
    await asyncio.sleep(20)

    (lease,) = world.cluster.store.every(resources.LEASES)
    assert _holder(world) == "one"
    assert lease.spec["leaseTransitions"] == 0


@pytest.mark.parametrize("effect", [faults.Hang(), faults.Delay(11)], ids=["hangs", "takes 11 s"])
async def test_one_lease_request_without_a_response_costs_no_leadership(
    world: stage.World, effect: faults.Hang | faults.Delay
) -> None:
    world.add_nodes(1)
    world.add_blocked_pod("node-0")
    await world.start("one")
    await world.start("two")
    world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))

    world.server.faults.add(faults.Fault(effect, method="PUT", path=".*/leases/.*", times=1))
    await asyncio.sleep(30)

    (lease,) = world.cluster.store.every(resources.LEASES)
    assert not world.server.faults.pending
    assert _holder(world) == "one"
    assert lease.spec["leaseTransitions"] == 0
    assert world.queue.receive_count(world.queue.in_flight[0]) == 1


@pytest.mark.parametrize("method", ["POST", "PUT"], ids=["acquired", "renewed"])
async def test_a_stop_after_a_write_whose_answer_was_lost_releases_the_lease(
    world: stage.World, method: str
) -> None:
    world.add_nodes(1)
    lost = faults.Fault(faults.Cut(after_effect=True), method=method, path=".*/leases.*", times=1)
    world.server.faults.add(lost)
    one = await world.start("one")
    await world.until(lambda: not world.server.faults.pending)
    assert _holder(world) == "one"

    await one.stop()

    assert _holder(world) == ""


async def test_a_stop_while_another_process_leads_leaves_the_lease_alone(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    await world.start("one")
    two = await world.start("two")
    await asyncio.sleep(5)

    await two.stop()

    assert _holder(world) == "one"
    assert set(world.cluster.history.writers) <= {"one"}


async def test_a_takeover_whose_request_hangs_is_tried_again_after_half_the_renew_deadline(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    one = await world.start("one")
    await world.start("two")
    await one.kill()
    world.server.faults.add(faults.Fault(faults.Hang(), method="PUT", path=".*/leases/.*", times=1))
    took = await world.until(lambda: _holder(world) == "two")

    assert took < 17.5 + 5


async def test_without_leader_election_no_lease_is_asked_for(world: stage.World) -> None:
    world.add_nodes(1)
    await world.start(leader_election={"enabled": False})

    world.send_spot(0)
    await world.until_settled()

    assert world.is_cordoned("node-0")
    assert world.cluster.history.count_requests(resource="leases") == 0


async def test_a_process_that_is_killed_at_any_moment_of_a_drain_loses_nothing(
    world: stage.World,
) -> None:
    world.add_nodes(12)
    for number in range(6):
        world.cluster.add_replica_set(
            f"web-{number}",
            replicas=4,
            labels={"app": f"web-{number}"},
            nodes=[f"node-{number}"],
            exit_seconds=3,
        )
    for number in range(6):
        world.send_termination(number)

    for round_number, moment in enumerate((0.003, 0.02, 0.5, 1.5, 3.05, 3.2)):
        process = await world.start(f"process-{round_number}")
        await asyncio.sleep(moment)
        await process.kill()
        await asyncio.sleep(16)
    await world.start("last")
    await world.until_settled(limit=60)

    for number in range(6):
        record = world.lifecycle.records[stage.instance(number)]
        removals = [
            pod.removed for pod in world.cluster.history.pods if pod.node == f"node-{number}"
        ]
        completed_at = record.completed_at
        assert completed_at is not None
        assert all(removed is not None and removed <= completed_at for removed in removals)
        assert world.is_cordoned(f"node-{number}")


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_wall_clock_that_jumps_changes_neither_the_leader_nor_the_deadline(
    world: stage.World, hours: int
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start("one")
    await world.start("two")

    world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    world.wall_clock.error = dt.timedelta(hours=hours)
    await asyncio.sleep(60)
    assert len(world.pods_on("node-0")) == 1
    took = await world.until_settled(limit=60)

    assert 25 < took < 61
    assert _holder(world) == "one"
    assert len(world.cluster.history.budget_overrides) == 1


async def test_a_leader_that_lost_the_lease_and_is_stopped_at_once_ends_its_work_first(
    world: stage.World,
) -> None:
    is_alive = asyncio.Event()
    is_alive.set()
    transport = DirectTransport(world.server, user_agent="one", is_alive=is_alive)
    ended = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(3)
            ended.append("work")

    elector = LeaderElector(
        leases=KubeLeases(KubeApi(transport), namespace="default", name="queue-processor"),
        identity="one",
        times=LeaseTimes(
            duration=dt.timedelta(seconds=15),
            renew_deadline=dt.timedelta(seconds=10),
            retry_period=dt.timedelta(seconds=2),
        ),
        liveness=Liveness(),
        clock=world.clock,
    )
    leading = asyncio.create_task(elector.run(work))
    await world.until(elector.is_held)
    transport.cut()
    with structlog.testing.capture_logs() as lines:
        await world.until(lambda: "leadership_lost" in {line["event"] for line in lines})

    leading.cancel()
    await asyncio.wait((leading,))

    assert ended == ["work"]
