"""From message to outcome: instances, settlement, redelivery and shutdown."""

import asyncio
import json
from collections.abc import Callable, Mapping

import pytest

from queue_processor.domain import aws_events, errors
from queue_processor.simulator.aws import events
from queue_processor.simulator.kube import manifests
from tests.controller import stage

pytestmark = pytest.mark.looptime


class NoneManaged:
    async def is_managed(self, instance_id: str) -> bool:
        del instance_id
        return False


async def test_ten_copies_of_one_message_are_one_drain_and_ten_deletions(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set("web", replicas=3, labels={"app": "web"}, nodes=["node-0"])
    await world.start()

    event = aws_events.spot_interruption(stage.instance(0), origin=world.origin())
    for _ in range(10):
        world.queue.send(event)
    await world.until_settled()

    requests = world.cluster.history
    assert len(world.queue.deleted) == 10
    assert requests.count_requests("patch", "nodes") == 1
    assert requests.count_requests("list", "pods") == 1
    assert requests.count_requests("create", "pods/eviction") == 3


async def test_a_spot_interruption_tightens_the_rebalance_drain_in_hand(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start()

    world.send_rebalance(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    await asyncio.sleep(10)
    world.send_spot(0)
    took = await world.until_settled(limit=130)

    assert took < 121
    assert len(world.queue.deleted) == 2
    assert world.cluster.history.count_requests("list", "pods") == 1
    assert {
        "queue-processor/spot-interruption",
        "queue-processor/rebalance-recommendation",
    } <= world.taints("node-0")
    assert len(world.cluster.history.budget_overrides) == 1
    assert {reason for reason, name in world.kubernetes_events() if name == "node-0"} == {
        "RebalanceRecommendation",
        "SpotInterruption",
        "DrainStopped" if world.pods_on("node-0") else "Drained",
    }


async def test_a_message_stays_invisible_for_as_long_as_its_drain_takes(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start()

    message_id = world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    for _ in range(80):
        assert world.queue.hidden_for(message_id) > 9.9
        await asyncio.sleep(1)

    assert world.queue.receive_count(message_id) == 1


async def test_the_newest_receipt_handle_deletes(world: stage.World) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start()

    message_id = world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    world.queue.make_visible(message_id)
    await world.until(lambda: world.queue.receive_count(message_id) == 2)
    await world.until_settled(limit=130)

    assert world.queue.deleted == [message_id]
    assert world.cluster.history.count_requests("list", "pods") == 1


async def test_a_malformed_body_goes_to_the_dead_letter_queue_with_the_reason(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    await world.start()

    world.queue.send("{not json")
    await world.until_settled()

    ((body, reason),) = world.queue.dead_letters
    assert body == "{not json"
    assert "not JSON" in reason


@pytest.mark.parametrize(
    "body",
    [
        # SQS takes neither an empty body nor control characters.
        " ",
        "null",
        "[]",
        '"text"',
        "[" * 100_000,
        "{" * 100_000,
        "x" * 1_048_576,
        "\t\u2028\ufffd",
        json.dumps({"source": "aws.ec2", "detail-type": 7}),
        json.dumps({"source": "aws.ec2", "detail-type": "EC2 Spot Instance Interruption Warning"}),
        json.dumps(
            {
                "source": "aws.ec2",
                "detail-type": "EC2 Spot Instance Interruption Warning",
                "detail": {"instance-id": "i-../../nodes"},
            }
        ),
    ],
    ids=lambda body: body[:20].encode("unicode_escape").decode(),
)
async def test_bad_input_costs_its_neighbour_in_the_batch_nothing(
    world: stage.World, body: str
) -> None:
    world.add_nodes(2)
    await world.start()

    world.queue.send(body)
    world.send_spot(0)
    await world.until_settled()

    assert world.is_cordoned("node-0")
    assert not world.is_cordoned("node-1")
    assert [dead for dead, _ in world.queue.dead_letters] == [body]


async def test_without_a_dead_letter_queue_a_malformed_message_is_deleted(
    world: stage.World,
) -> None:
    world.queue.remove_dead_letter_queue()
    await world.start()

    world.queue.send("{not json")
    await world.until_settled()

    assert not world.queue.dead_letters


async def test_an_event_that_asks_for_nothing_is_deleted(world: stage.World) -> None:
    world.add_nodes(1)
    await world.start()

    world.send_state(0, "pending")
    await world.until_settled(limit=1)

    assert not world.is_cordoned("node-0")


async def test_an_ignored_kind_is_deleted_and_its_node_left_alone(world: stage.World) -> None:
    world.add_nodes(1)
    await world.start(actions={"rebalance_recommendation": "ignore"})

    world.send_rebalance(0)
    await world.until_settled(limit=1)

    assert not world.is_cordoned("node-0")


async def test_with_the_action_cordon_no_pod_is_moved_and_a_termination_completes(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set("web", replicas=2, labels={"app": "web"}, nodes=["node-0"])
    await world.start(actions={"autoscaling_termination": "cordon"})

    world.send_termination(0)
    await world.until_settled(limit=1)

    assert world.is_cordoned("node-0")
    assert len(world.pods_on("node-0")) == 2
    assert world.lifecycle.records[stage.instance(0)].completions == 1


async def test_an_instance_that_joins_twenty_seconds_later_is_drained(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    await world.start()

    world.send_spot(7)
    await asyncio.sleep(20)
    world.add_nodes(1, first=7)
    await world.until_settled(limit=2)

    assert world.is_cordoned("node-7")


async def test_an_instance_that_never_joins_is_given_up_after_its_grace(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    await world.start()

    world.send_spot(7)
    took = await world.until_settled(limit=70)

    assert 59 < took < 62


async def test_the_hook_of_an_instance_that_never_joined_is_completed_if_another_of_its_group_did(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    world.lifecycle.add_group("workers", stage.instance(0), stage.instance(7))
    await world.start(drain={"unknown_instance_grace_seconds": 5})

    world.send_termination(7)
    await world.until_settled(limit=10)

    assert world.lifecycle.records[stage.instance(7)].completions == 1


async def test_the_hook_of_an_instance_that_never_joined_is_completed_if_its_group_has_our_tag(
    world: stage.World,
) -> None:
    world.lifecycle.add_group(
        "workers", stage.instance(7), **{"kubernetes.io/cluster/ours": "owned"}
    )
    await world.start(cluster_name="ours", drain={"unknown_instance_grace_seconds": 5})

    world.send_termination(7)
    await world.until_settled(limit=10)

    assert world.lifecycle.records[stage.instance(7)].completions == 1


async def test_the_hook_of_another_clusters_group_is_never_completed_by_us(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.lifecycle.add_group("workers", stage.instance(0), stage.instance(1))
    world.lifecycle.add_group(
        "theirs",
        stage.instance(7),
        stage.instance(8),
        **{"kubernetes.io/cluster/theirs": "owned"},
    )
    await world.start(cluster_name="ours")

    world.send_termination(7, group="theirs")
    world.send_termination(0)
    await world.until_settled(limit=70)

    assert world.lifecycle.records[stage.instance(7)].completions == 0
    assert world.lifecycle.records[stage.instance(0)].completions == 1


async def test_a_node_that_is_being_initialized_delays_the_decision_about_a_hook(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.lifecycle.add_group("workers", stage.instance(1), stage.instance(7))
    uninitialized = {
        "key": "node.cloudprovider.kubernetes.io/uninitialized",
        "value": "true",
        "effect": "NoSchedule",
    }
    world.change_node("node-0", providerID="", taints=[uninitialized])
    await world.start(drain={"unknown_instance_grace_seconds": 5})

    world.send_termination(7)
    await asyncio.sleep(20)
    assert world.lifecycle.records[stage.instance(7)].completions == 0
    world.change_node("node-0", providerID=f"aws:///us-east-1a/{stage.instance(0)}", taints=[])
    await world.until_settled(limit=90)

    assert world.lifecycle.records[stage.instance(7)].completions == 1


async def test_a_node_without_an_instance_leaves_the_hook_to_its_owner(world: stage.World) -> None:
    world.add_nodes(2)
    world.lifecycle.add_group("workers", stage.instance(1), stage.instance(7))
    world.change_node("node-0", providerID="k3s://node-0")
    await world.start(drain={"unknown_instance_grace_seconds": 5})

    world.send_termination(7)
    await world.until_settled(limit=30)

    assert world.lifecycle.records[stage.instance(7)].completions == 0


async def test_a_group_that_cannot_be_looked_up_now_is_looked_up_again(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    world.lifecycle.add_group("workers", stage.instance(0), stage.instance(7))
    world.lifecycle.fail("group", errors.TemporaryError("throttled"))
    await world.start(drain={"unknown_instance_grace_seconds": 5})

    world.send_termination(7)
    await world.until_settled(limit=30)

    assert world.lifecycle.records[stage.instance(7)].completions == 1


@pytest.mark.parametrize(
    "error", [errors.PermanentError("not authorized"), errors.NotFound("there is no such group")]
)
async def test_a_hook_whose_group_we_may_not_look_up_is_left_to_its_owner(
    world: stage.World, error: Exception
) -> None:
    world.add_nodes(1)
    world.lifecycle.add_group("workers", stage.instance(0), stage.instance(7))
    world.lifecycle.fail("group", error)
    await world.start(drain={"unknown_instance_grace_seconds": 5})

    world.send_termination(7)
    await world.until_settled(limit=10)

    assert world.lifecycle.records[stage.instance(7)].completions == 0


async def test_a_process_that_stops_while_it_looks_a_group_up_releases_the_message(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    process = await world.start(drain={"unknown_instance_grace_seconds": 5})
    world.lifecycle.never_answers_for_groups = True

    world.send_termination(7)
    await world.until(lambda: world.lifecycle.asked_for_groups == 1)
    await process.stop()

    assert world.queue.in_flight == []
    assert world.lifecycle.records[stage.instance(7)].completions == 0


@pytest.mark.parametrize("wrap", [dict, stage.sns])
async def test_an_event_of_another_account_is_ignored_and_no_node_is_touched(
    world: stage.World, wrap: Callable[[Mapping[str, object]], Mapping[str, object]]
) -> None:
    world.add_nodes(1)
    await world.start(sources={"sqs": {"accounts": ["444455556666"]}})

    world.queue.send(wrap(aws_events.spot_interruption(stage.instance(0), origin=world.origin())))
    await world.until_settled()

    assert not world.is_cordoned("node-0")
    assert world.queue.dead_letters == []


async def test_with_the_policy_release_another_cluster_gets_the_message_in_time(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    await world.start(drain={"unknown_instance_policy": "release"})

    message_id = world.send_spot(7)
    await world.until(lambda: world.queue.receive_count(message_id) > 0)
    another = world.queue.client()
    await another.open()
    received = await another.receive()

    assert [message.message_id for message in received] == [message_id]


async def test_the_lifecycle_action_is_completed_when_the_node_is_empty_and_not_before(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set(
        "web", replicas=3, labels={"app": "web"}, nodes=["node-0"], exit_seconds=20
    )
    await world.start()

    world.send_termination(0)
    await world.until_settled()

    completed_at = world.lifecycle.records[stage.instance(0)].completed_at
    removals = [pod.removed for pod in world.cluster.history.pods if pod.node == "node-0"]
    assert completed_at is not None
    assert all(removed is not None and removed <= completed_at for removed in removals)


async def test_heartbeats_keep_the_lifecycle_action_alive_until_it_is_completed(
    world: stage.World,
) -> None:
    world.lifecycle = type(world.lifecycle)(clock=world.clock, heartbeat_timeout=30)
    world.add_nodes(2)
    world.cluster.add_replica_set(
        "web",
        replicas=1,
        labels={"app": "web"},
        nodes=["node-0"],
        grace_seconds=300,
        exit_seconds=200,
    )
    await world.start()

    world.send_termination(0)
    await world.until_settled(limit=250)

    record = world.lifecycle.records[stage.instance(0)]
    pauses = [b - a for a, b in zip(record.heartbeats, record.heartbeats[1:], strict=False)]
    assert len(record.heartbeats) == 13
    assert all(14 < pause < 16 for pause in pauses)
    assert record.completions == 1
    await asyncio.sleep(60)
    assert len(record.heartbeats) == 13


async def test_a_completion_that_fails_three_times_is_repeated_before_the_deletion(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    await world.start()
    world.lifecycle.fail(
        "complete",
        errors.TemporaryError("throttled"),
        errors.PermanentError("AccessDenied"),
        errors.TemporaryError("throttled"),
    )

    message_id = world.send_termination(0)
    await world.until_settled()

    assert world.lifecycle.records[stage.instance(0)].completions == 1
    assert world.queue.deleted == [message_id]


async def test_a_deletion_that_fails_is_repeated_until_it_holds(world: stage.World) -> None:
    world.add_nodes(1)
    await world.start()
    world.queue.fail("DeleteMessageBatch", *(errors.TemporaryError("503") for _ in range(4)))

    message_id = world.send_spot(0)
    await world.until_settled()

    assert world.queue.deleted == [message_id]


async def test_a_message_whose_visibility_cannot_be_extended_is_joined_when_it_comes_again(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    await world.start()
    world.queue.fail(
        "ChangeMessageVisibilityBatch", *(errors.TemporaryError("503") for _ in range(20))
    )

    message_id = world.send_spot(0)
    await world.until_settled(limit=130)

    assert world.queue.deleted == [message_id]
    assert world.cluster.history.count_requests("list", "pods") == 1


async def test_after_twelve_hours_the_message_comes_again_and_the_work_goes_on(
    world: stage.World,
) -> None:
    world.queue.visibility_timeout = 3600
    world.add_nodes(2)
    world.cluster.add_pod(
        "slow",
        node="node-0",
        spec=manifests.PodSpec(grace_seconds=50_000, exit_seconds=44_000),
    )
    await world.start(
        leader_election={"enabled": False},
        sources={"sqs": {"visibility_timeout_seconds": 3600}},
        drain={"soft_drain_timeout_seconds": 50_000},
    )

    message_id = world.send_rebalance(0)
    await world.until(lambda: world.is_cordoned("node-0"))
    await asyncio.sleep(43_300)

    assert world.queue.receive_count(message_id) == 2
    assert world.cluster.history.count_requests("patch", "nodes") == 1
    await world.until_settled(limit=1000)


async def test_a_health_event_is_settled_when_all_of_its_instances_are(
    world: stage.World,
) -> None:
    world.add_nodes(4)
    world.cluster.add_replica_set(
        "web", replicas=4, labels={"app": "web"}, nodes=["node-0", "node-1"], exit_seconds=9
    )
    await world.start()

    change = events.new_change(world.clock(), names_arns=True, status="open")
    world.queue.send(
        aws_events.scheduled_change(
            [stage.instance(0), stage.instance(1)], change, origin=world.origin()
        )
    )
    took = await world.until_settled()

    assert took > 8
    assert not world.pods_on("node-0") | world.pods_on("node-1")


async def test_one_instance_that_fails_does_not_stop_the_others_and_the_message_comes_again(
    world: stage.World,
) -> None:
    class Managed:
        def __init__(self) -> None:
            self.faults = 1

        async def is_managed(self, instance_id: str) -> bool:
            if instance_id == stage.instance(0) and self.faults:
                self.faults -= 1
                raise errors.TemporaryError("RequestLimitExceeded")
            return True

    world.managed = Managed()
    world.add_nodes(4)
    await world.start()

    change = events.new_change(world.clock(), status="open")
    message_id = world.queue.send(
        aws_events.scheduled_change(
            [stage.instance(0), stage.instance(1)], change, origin=world.origin()
        )
    )
    await world.until(lambda: world.is_cordoned("node-1"))
    await world.until_settled()

    assert world.is_cordoned("node-0")
    assert world.queue.deleted == [message_id]


async def test_an_instance_without_the_managed_tag_is_left_alone(world: stage.World) -> None:
    world.managed = NoneManaged()
    world.add_nodes(1)
    await world.start()

    world.send_spot(0)
    await world.until_settled()

    assert not world.is_cordoned("node-0")


async def test_the_hook_of_an_instance_that_never_joined_and_is_not_managed_is_left(
    world: stage.World,
) -> None:
    world.managed = NoneManaged()
    world.add_nodes(1)
    world.lifecycle.add_group("workers", stage.instance(0), stage.instance(7))
    await world.start(drain={"unknown_instance_grace_seconds": 5})

    world.send_termination(7)
    await world.until_settled(limit=10)

    assert world.lifecycle.records[stage.instance(7)].completions == 0


async def test_a_late_event_is_acted_on_while_its_node_is_there(world: stage.World) -> None:
    world.add_nodes(2)
    world.cluster.add_replica_set("web", replicas=2, labels={"app": "web"}, nodes=["node-0"])
    await world.start()

    world.send_spot(0, age=86_400)
    await world.until_settled()

    assert world.is_cordoned("node-0")
    assert not world.pods_on("node-0")


async def test_a_launch_is_completed_when_its_node_is_ready_and_not_before(
    world: stage.World,
) -> None:
    await world.start()
    world.lifecycle.begin(stage.instance(7))
    world.queue.send(
        aws_events.autoscaling_launch(
            stage.instance(7),
            events.new_step(group="workers", hook="join"),
            origin=world.origin(),
        )
    )
    await asyncio.sleep(100)
    world.cluster.add_node("node-7", instance_id=stage.instance(7), ready=False)
    await asyncio.sleep(30)
    assert world.lifecycle.records[stage.instance(7)].completed_at is None

    world.cluster.set_ready("node-7", ready=True)
    await world.until_settled(limit=1)

    assert world.lifecycle.records[stage.instance(7)].completions == 1
    assert not world.is_cordoned("node-7")


async def test_a_stop_between_the_completion_and_the_deletion_loses_neither(
    world: stage.World,
) -> None:
    world.add_nodes(1)
    process = await world.start("one")
    world.queue.fail("DeleteMessageBatch", *(errors.TemporaryError("503") for _ in range(50)))

    message_id = world.send_termination(0)
    record = world.lifecycle.records[stage.instance(0)]
    await world.until(lambda: record.completions == 1)
    await process.stop()
    assert world.queue.visible == 1
    world.queue.failures.clear()
    await world.start("two")
    await world.until_settled()

    assert world.queue.deleted == [message_id]
    assert record.completed_at is not None


async def test_a_lease_that_is_released_is_released_after_the_messages(
    world: stage.World,
) -> None:
    world.add_nodes(2)
    world.add_blocked_pod("node-0")
    process = await world.start("one")
    message_id = world.send_spot(0)
    await world.until(lambda: world.is_cordoned("node-0"))

    await process.stop()

    assert world.queue.hidden_for(message_id) <= 0
