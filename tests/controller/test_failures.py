"""The cluster and the queue after failures of the API server, and of our own."""

import asyncio

import pytest
import structlog.testing

from queue_processor.domain import errors, nodes
from queue_processor.simulator.kube import faults, manifests, store
from tests.controller import stage

pytestmark = pytest.mark.looptime


async def test_a_conflict_on_the_cordon_is_read_again_at_once(world: stage.World) -> None:
    world.add_nodes(2)
    await world.start()
    world.server.faults.add(
        faults.Fault(faults.ErrorResponse(409, "Conflict", "changed"), method="PATCH", times=2)
    )

    world.send_spot(0)
    took = await world.until(lambda: world.is_cordoned("node-0"))

    assert took < 0.2


async def test_a_node_that_is_deleted_in_mid_drain_ends_it(world: stage.World) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=25))
    await world.start()

    world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    await asyncio.sleep(3)
    world.cluster.remove_node("node-0")
    took = await world.until_settled()

    # A list confirms it, and lists begin five seconds apart.
    assert took < 6


async def test_a_node_that_is_gone_before_the_cordon_settles_the_message(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    operator = await world.start()
    ghost = operator.node_index.find(stage.instance(0))
    world.cluster.remove_node("node-0")
    await asyncio.sleep(1)
    assert ghost is not None
    operator.node_index.put(ghost)

    world.send_spot(0)
    await world.until_settled()

    assert operator.node_index.find(stage.instance(0)) is None


async def test_a_name_that_another_instance_has_now_is_not_cordoned(world: stage.World) -> None:
    world.add_nodes(1)
    operator = await world.start()
    operator.lose_watch()
    world.cluster.remove_node("node-0")
    world.cluster.add_node("node-0", instance_id=stage.instance(9))

    world.send_spot(0)
    await world.until_settled()

    assert not world.is_cordoned("node-0")


async def test_an_api_server_that_is_busy_with_everything_for_ten_seconds_costs_ten_seconds(
    world: stage.World,
) -> None:
    world.add_nodes(3)
    world.cluster.add_replica_set("web", replicas=5, labels={"app": "web"}, nodes=["node-0"])
    await world.start()
    world.server.faults.add(
        faults.Fault(
            faults.ErrorResponse(429, "TooManyRequests", "busy", retry_after=1),
            path="/api/.*",
            seconds=10,
        )
    )

    world.send_spot(0)
    took = await world.until_settled()

    assert 10 < took < 20
    assert not world.pods_on("node-0")


@pytest.mark.parametrize("seconds", [5, 30])
async def test_an_api_server_that_is_away_in_mid_drain_delays_it_by_that(
    world: stage.World, seconds: float
) -> None:
    world.add_nodes(3)
    world.cluster.add_replica_set(
        "web", replicas=5, labels={"app": "web"}, nodes=["node-0"], exit_seconds=4
    )
    operator = await world.start()

    world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    operator.transport.cut()
    await asyncio.sleep(seconds)
    operator.transport.is_reachable = True
    await world.until_settled(limit=90)

    assert not world.pods_on("node-0")


@pytest.mark.parametrize(
    ("code", "reason", "message"),
    [
        (500, "InternalError", "This pod has more than one PodDisruptionBudget"),
        (500, "InternalError", "etcd is tired"),
        (403, "Forbidden", "no such permission"),
        (503, "ServiceUnavailable", "later"),
    ],
)
async def test_an_eviction_that_is_refused_is_repeated_and_the_others_go_on(
    world: stage.World, code: int, reason: str, message: str
) -> None:
    world.add_nodes(2)
    for name in ("refused", "other"):
        world.cluster.add_pod(name, node="node-0")
    await world.start()
    world.server.faults.add(
        faults.Fault(
            faults.ErrorResponse(code, reason, message), path=".*/pods/refused/eviction", times=4
        )
    )

    world.send_spot(0)
    await world.until(lambda: "other" not in world.pods_on("node-0"), limit=2)
    assert "refused" in world.pods_on("node-0")
    await world.until_settled()

    assert not world.pods_on("node-0")


async def test_a_pod_under_two_budgets_is_deleted_at_the_deadline(world: stage.World) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set("web", replicas=1, labels={"app": "web"}, nodes=["node-0"])
    for name in ("one", "two"):
        world.cluster.add_budget(name, match_labels={"app": "web"}, max_unavailable=1)
    await world.start()

    world.send_spot(0)
    took = await world.until_settled(limit=130)

    assert took > 85
    assert not world.pods_on("node-0")
    assert any(reason == "EvictionBlocked" for reason, _ in world.kubernetes_events())


async def test_pods_of_a_terminating_namespace_are_waited_for(world: stage.World) -> None:
    world.add_nodes(2)
    world.cluster.add_namespace("old")
    world.cluster.add_pod(
        "leaving", namespace="old", node="node-0", spec=manifests.PodSpec(exit_seconds=10)
    )
    await world.start()
    world.cluster.terminate_namespace("old")

    world.send_spot(0)
    await world.until_settled(limit=20)

    assert not world.pods_on("node-0")


async def test_a_watch_that_expired_lists_again(world: stage.World) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=25))
    await world.start()

    world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    await asyncio.sleep(3)
    world.cluster.add_pod("other", node="node-1")
    world.cluster.compact()
    world.cluster.drop_watches()
    await world.until_settled(limit=40)

    assert not world.pods_on("node-0")


async def test_what_happens_to_pods_while_no_watch_can_be_had_is_seen_afterwards(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=10))
    operator = await world.start()

    world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    await asyncio.sleep(3)
    operator.transport.cut()
    world.cluster.add_pod("late", node="node-0", spec=manifests.PodSpec(exit_seconds=1))
    await asyncio.sleep(5)
    world.cluster.compact()
    operator.transport.is_reachable = True
    await world.until_settled(limit=40)

    assert not world.pods_on("node-0")


async def test_many_drains_have_one_watch_and_none_when_they_are_over(
    world: stage.World,
) -> None:
    world.add_nodes(21)
    for number in range(20):
        world.cluster.add_pod(
            f"slow-{number}", node=f"node-{number}", spec=manifests.PodSpec(exit_seconds=5)
        )
    await world.start()
    idle = world.cluster.hub.count

    for number in range(20):
        world.send_spot(number)
    await world.until(lambda: all(world.is_cordoned(f"node-{number}") for number in range(20)))
    await asyncio.sleep(3)
    busy = world.cluster.hub.count
    await world.until_settled()
    await world.until(lambda: world.cluster.hub.count == idle)

    assert busy == idle + 1
    assert not any(world.pods_on(f"node-{number}") for number in range(20))


async def test_a_drain_that_begins_when_all_others_are_over_sees_its_pods_go(
    world: stage.World,
) -> None:
    world.add_nodes(3)
    await world.start()
    for number in range(2):
        world.cluster.add_pod(
            f"slow-{number}", node=f"node-{number}", spec=manifests.PodSpec(exit_seconds=5)
        )
        world.send_spot(number)
        await world.until_settled(limit=10)
        assert not world.pods_on(f"node-{number}")
        await asyncio.sleep(1)


async def test_a_dead_kubelet_holds_its_pods_and_the_message_until_the_deadline_only(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("stuck", node="node-0")
    await world.start(drain={"out_of_service_taint": False})
    world.cluster.kill_kubelet("node-0")

    world.send_spot(0)
    took = await world.until_settled(limit=130)

    assert 115 < took < 125
    assert "stuck" in world.pods_on("node-0")


async def test_a_stopped_instance_is_declared_out_of_service_and_its_pods_are_freed(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set(
        "db", replicas=1, labels={"app": "db"}, nodes=["node-0"], volumes=["data"]
    )
    await world.start()
    world.cluster.kill_kubelet("node-0")

    world.send_state(0, "stopped")
    await world.until_settled(limit=20)

    assert "node.kubernetes.io/out-of-service" in world.taints("node-0")
    assert not world.pods_on("node-0")


async def test_a_stopped_event_about_a_node_that_is_ready_declares_nothing(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set("web", replicas=2, labels={"app": "web"}, nodes=["node-0"])
    await world.start()

    world.send_state(0, "stopped")
    await world.until_settled(limit=20)

    assert "node.kubernetes.io/out-of-service" not in world.taints("node-0")
    assert not world.pods_on("node-0")


async def test_a_ghost_in_the_index_does_not_take_the_node_of_its_name_with_it(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    operator = await world.start()
    ghost = operator.node_index.find(stage.instance(0))
    world.cluster.remove_node("node-0")
    await asyncio.sleep(1)
    assert ghost is not None
    operator.node_index.put(ghost)
    world.cluster.add_node("node-0", instance_id=stage.instance(9))
    await asyncio.sleep(1)

    world.send_spot(0)
    await asyncio.sleep(1)
    world.send_spot(9)
    await world.until(lambda: world.is_cordoned("node-0"), limit=2)


async def test_a_kubelet_that_cannot_be_reached_at_the_deadline_is_not_taken_for_a_dead_instance(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("stuck", node="node-0")
    await world.start()
    world.cluster.kill_kubelet("node-0")

    world.send_spot(0)
    await world.until_settled(limit=130)
    await asyncio.sleep(1)

    assert "node.kubernetes.io/out-of-service" not in world.taints("node-0")
    assert "stuck" in world.pods_on("node-0")


async def test_a_conflict_on_the_uncordon_after_a_soft_timeout_does_not_begin_it_all_again(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start(drain={"soft_drain_timeout_seconds": 60, "on_soft_timeout": "uncordon"})

    message_id = world.send_rebalance(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    world.server.faults.add(
        faults.Fault(
            faults.ErrorResponse(409, "Conflict", "changed"),
            method="PATCH",
            path="/api/v1/nodes/node-0",
            times=1,
        )
    )
    took = await world.until_settled(limit=100)

    assert took < 61
    assert world.queue.deleted == [message_id]
    assert not world.is_cordoned("node-0")


async def test_a_pod_with_the_longest_possible_grace_period_elsewhere_disturbs_no_drain(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=10))
    await world.start()

    world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    await asyncio.sleep(3)
    world.cluster.add_pod("eternal", node="node-1", spec=manifests.PodSpec(grace_seconds=2**63 - 1))
    await world.until_settled(limit=20)

    assert world.pods_on("node-0") == set()
    assert world.pods_on("node-1") == {"eternal"}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (409, 'Operation cannot be fulfilled on poddisruptionbudgets.policy "db": modified'),
        (409, 'Operation cannot be fulfilled on pods "db-0": the object has been modified'),
    ],
)
async def test_a_conflict_that_is_not_about_the_uid_of_a_pod_is_retried(
    world: stage.World, code: int, message: str
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("db-0", node="node-0")
    await world.start()
    world.server.faults.add(
        faults.Fault(
            faults.ErrorResponse(code, "Conflict", message), path=".*/pods/db-0/eviction", times=2
        )
    )

    world.send_spot(0)
    await world.until_settled(limit=10)

    assert world.pods_on("node-0") == set()


async def test_a_forced_deletion_that_conflicts_is_retried(world: stage.World) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start()
    world.server.faults.add(
        faults.Fault(
            faults.ErrorResponse(409, "Conflict", "the object has been modified"),
            method="DELETE",
            times=1,
        )
    )

    world.send_spot(0)
    await world.until_settled(limit=115)

    assert world.pods_on("node-0") == set()


async def test_an_accepted_eviction_keeps_its_grace_where_the_watch_shows_it_after_the_deadline(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod(
        "slow", node="node-0", spec=manifests.PodSpec(grace_seconds=40, exit_seconds=30)
    )
    await world.start()
    # So long each takes: the list of the pods, and then their watch.
    world.server.faults.add(faults.Fault(faults.Delay(2), path="/api/v1/pods"))

    # It goes in 6 s: the pod would have to be deleted at once.
    world.send_spot(0, age=114)
    await world.until_settled(limit=60)

    slow = world.pod_record("slow")
    assert slow.removal_cause is store.Cause.EVICTION
    assert slow.grace_seconds == 40


async def test_a_pod_that_stays_although_its_eviction_was_accepted_is_deleted_when_it_is_due(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("stays", node="node-0")
    await world.start()
    world.server.faults.add(faults.Fault(faults.ErrorResponse(201), path=".*/pods/stays/eviction"))

    world.send_spot(0, age=114)
    await world.until_settled(limit=60)

    assert world.pod_record("stays").removal_cause is store.Cause.DELETE


async def test_a_pod_that_its_terminating_namespace_leaves_alone_is_deleted_at_the_deadline(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("stuck", node="node-0")
    await world.start()
    world.server.faults.add(
        faults.Fault(
            faults.ErrorResponse(
                403, "Forbidden", "it is terminating", causes=("NamespaceTerminating",)
            ),
            path=".*/pods/stuck/eviction",
        )
    )

    world.send_spot(0)
    await world.until_settled(limit=115)

    assert world.pods_on("node-0") == set()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/api/v1/nodes/node-0"),
        ("GET", "/api/v1/pods"),
        ("POST", ".*/pods/web/eviction"),
    ],
)
async def test_a_retry_after_that_is_longer_than_the_notice_does_not_use_it_up(
    world: stage.World, method: str, path: str
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("web", node="node-0", spec=manifests.PodSpec(exit_seconds=5))
    await world.start()
    world.server.faults.add(
        faults.Fault(
            faults.ErrorResponse(429, "TooManyRequests", "busy", retry_after=300),
            method=method,
            path=path,
            times=1,
        )
    )

    message_id = world.send_spot(0)
    await world.until_settled(limit=90)

    assert world.queue.deleted == [message_id]
    assert world.is_cordoned("node-0")
    assert world.pods_on("node-0") == set()
    assert "DeletedAtDeadline" not in {reason for reason, _ in world.kubernetes_events()}


async def test_a_retry_after_on_the_watch_does_not_blind_the_drains_for_that_long(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=10))
    await world.start()

    world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    await asyncio.sleep(3)
    world.server.faults.add(
        faults.Fault(
            faults.ErrorResponse(429, "TooManyRequests", "busy", retry_after=300),
            method="GET",
            path="/api/v1/pods",
            times=1,
        )
    )
    world.cluster.drop_watches()
    await world.until_settled(limit=20)

    assert world.pods_on("node-0") == set()


@pytest.mark.parametrize("code", [403, 422])
async def test_a_node_whose_taint_a_policy_refuses_is_cordoned_and_drained_without_it(
    world: stage.World, code: int
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("web", node="node-0")
    await world.start()
    world.server.faults.add(
        faults.Fault(
            faults.ErrorResponse(code, "Invalid", "taints are managed elsewhere"),
            method="PATCH",
            path="/api/v1/nodes/node-0",
            times=1,
        )
    )

    message_id = world.send_spot(0)
    await world.until_settled(limit=10)

    assert world.queue.deleted == [message_id]
    assert world.is_cordoned("node-0")
    assert "queue-processor/spot-interruption" not in world.taints("node-0")
    assert world.pods_on("node-0") == set()


@pytest.mark.parametrize(
    ("refusals", "is_cordoned", "is_annotated"), [(2, True, False), (3, False, False)]
)
async def test_a_node_of_which_a_policy_refuses_the_mark_is_drained_with_as_much_as_it_allows(
    world: stage.World, *, refusals: int, is_cordoned: bool, is_annotated: bool
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("web", node="node-0")
    await world.start()
    world.server.faults.add(
        faults.Fault(
            faults.ErrorResponse(403, "Forbidden", "nodes are managed elsewhere"),
            method="PATCH",
            path="/api/v1/nodes/node-0",
            times=refusals,
        )
    )

    message_id = world.send_spot(0)
    await world.until_settled(limit=10)

    assert world.queue.deleted == [message_id]
    assert world.is_cordoned("node-0") is is_cordoned
    annotations = world.node("node-0").metadata.get("annotations", {})
    assert (nodes.DEADLINE_ANNOTATION in annotations) is is_annotated
    assert world.pods_on("node-0") == set()


@pytest.mark.parametrize(
    ("code", "effect"),
    [(503, "overloaded"), (403, "not allowed to list pods")],
)
async def test_pods_that_cannot_be_listed_before_the_deadline_cost_one_warning_and_a_retry(
    world: stage.World, code: int, effect: str
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("web", node="node-0")
    await world.start()
    world.server.faults.add(
        faults.Fault(
            faults.ErrorResponse(code, "", effect), method="GET", path="/api/v1/pods", seconds=121
        )
    )

    with structlog.testing.capture_logs() as lines:
        world.send_spot(0)
        await world.until_settled(limit=300)

    alarms = [line for line in lines if line["log_level"] in {"warning", "error"}]
    assert [(line["event"], line.get("node")) for line in alarms] == [("pods_not_listed", "node-0")]
    assert effect in alarms[0]["error"]
    assert world.pods_on("node-0") == set()


async def test_a_conflict_on_the_conditions_of_a_node_does_not_end_its_drain(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=15))
    await world.start()
    world.server.faults.add(
        faults.Fault(
            faults.ErrorResponse(409, "Conflict", "changed"),
            method="PATCH",
            path="/api/v1/nodes/node-0/status",
        )
    )

    message_id = world.send_spot(0)
    await world.until_settled(limit=20)

    assert world.queue.deleted == [message_id]
    assert world.pods_on("node-0") == set()


async def test_receive_calls_that_time_out_are_no_reason_for_a_restart(
    world: stage.World,
) -> None:
    """SQS is black-holed: each call hangs as long as the timeouts of the SDK allow."""
    process = await world.start()
    world.queue.delay = 100
    world.queue.fail("ReceiveMessage", *[errors.TemporaryError("timed out")] * 5)

    for _ in range(550):
        await asyncio.sleep(1)
        assert process.liveness.stalled() == []


async def test_a_receive_call_that_outlasts_every_timeout_fails_the_liveness_probe(
    world: stage.World,
) -> None:
    process = await world.start()
    world.queue.delay = 1_000_000

    await asyncio.sleep(300)

    assert process.liveness.stalled() == ["consumer of sqs"]


async def test_a_slow_attempt_to_renew_a_long_lease_is_no_reason_for_a_restart(
    world: stage.World,
) -> None:
    times = {"lease_duration_seconds": 300, "renew_deadline_seconds": 280}
    process = await world.start(leader_election=times)
    world.server.faults.add(faults.Fault(faults.Hang(), method="PUT", path=".*/leases/.*", times=1))

    for _ in range(200):
        await asyncio.sleep(1)
        assert process.liveness.stalled() == []
