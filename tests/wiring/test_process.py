"""The program as a process: what its end, wished for or not, leaves behind."""

import asyncio
import signal
import urllib.request

from queue_processor.domain import aws_events
from queue_processor.domain.events import LifecycleTransition
from queue_processor.simulator.aws import events, lifecycle
from queue_processor.simulator.kube import api, faults, manifests
from tests import operators
from tests.wiring.conftest import Site

# Whoever waits for its end waits longer than a test does.
_LONG_LEASE = operators.election(lease=300, renew=200, retry=0.4)


def _instance(number: int) -> str:
    return f"i-{number:017x}"


async def _get(url: str) -> tuple[int, str]:
    def get() -> tuple[int, str]:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own server
            return answer.status, answer.read().decode()

    return await asyncio.to_thread(get)


async def test_a_kill_in_the_middle_of_a_storm_loses_nothing(site: Site) -> None:
    terminating = site.aws.launch(3)
    hook = lifecycle.SimulatedLifecycleHook("workers", "drain", LifecycleTransition.TERMINATING)
    site.aws.create_auto_scaling_group("workers", terminating, [hook])
    instances = [*terminating, *(_instance(number) for number in range(27))]
    for number, instance_id in enumerate(instances):
        site.cluster.add_node(f"node-{number}", instance_id=instance_id)
    for number in range(15):
        site.cluster.add_replica_set(
            f"web-{number}",
            replicas=4,
            labels={"app": f"web-{number}"},
            nodes=[f"node-{(number + step) % 12}" for step in range(4)],
            exit_seconds=1.5,
        )
        site.cluster.add_budget(
            f"web-{number}", match_labels={"app": f"web-{number}"}, max_unavailable=1
        )
    first = await site.start()

    for instance_id in terminating:
        site.aws.terminate_in_group(instance_id)
    for instance_id in instances[3:12]:
        site.aws.put_event(aws_events.spot_interruption(instance_id, origin=events.new_origin()))
    await site.until(lambda: len(site.cluster.history.evictions) > 10)
    await first.kill()
    assert not site.is_settled()
    await site.start()
    await site.until(site.is_settled)

    assert not any(site.cluster.store.pods_on(f"node-{number}") for number in range(12))
    assert all(site.is_cordoned(f"node-{number}") for number in range(12))
    assert not any(site.is_cordoned(f"node-{number}") for number in range(12, 30))
    assert not site.cluster.history.budget_violations
    actions = site.aws.lifecycle_actions()
    assert len(actions) == 3
    for action in actions:
        node = f"node-{instances.index(action.instance_id)}"
        removals = [pod.removed for pod in site.cluster.history.pods if pod.node == node]
        assert action.completed_at is not None
        assert all(gone is not None and gone <= action.completed_at for gone in removals)


async def test_sigterm_hands_the_messages_and_the_leadership_to_the_standby(site: Site) -> None:
    for number in range(3):
        site.cluster.add_node(f"node-{number}", instance_id=_instance(number))
    site.cluster.add_pod("slow", node="node-0", spec=manifests.PodSpec(exit_seconds=8))
    leader = await site.start(**_LONG_LEASE)
    await site.until(lambda: bool(site.holder()))
    before = site.holder()
    await site.start(**_LONG_LEASE)

    site.aws.put_event(aws_events.spot_interruption(_instance(0), origin=events.new_origin()))
    await site.until(lambda: site.is_cordoned("node-0"))
    leader.send(signal.SIGTERM)
    await site.until(lambda: site.holder() not in {"", before})
    code = await leader.ended()
    await site.until(site.is_settled)

    assert code == 0
    assert leader.logged("stopped")
    assert not site.cluster.store.pods_on("node-0")


async def test_a_second_signal_stops_at_once(site: Site) -> None:
    operator = await site.start(QUEUE_PROCESSOR_SOURCES__SQS__WAIT_TIME_SECONDS="20")
    await site.until(lambda: bool(operator.logged("leadership_acquired")))
    await asyncio.sleep(0.5)

    operator.send(signal.SIGINT)
    await site.until(lambda: bool(operator.logged("stopping")))
    operator.send(signal.SIGINT)

    assert await operator.ended() == 1


async def test_an_api_server_that_is_away_for_a_while_is_waited_for(site: Site) -> None:
    for number in range(3):
        site.cluster.add_node(f"node-{number}", instance_id=_instance(number))
    operator = await site.start()
    await site.until(lambda: bool(operator.logged("leadership_acquired")))

    await site.http.pause()
    site.aws.put_event(aws_events.spot_interruption(_instance(0), origin=events.new_origin()))
    await asyncio.sleep(4)
    await site.http.resume()
    await site.until(site.is_settled)
    site.cluster.add_node("late", instance_id=_instance(9))
    site.aws.put_event(aws_events.spot_interruption(_instance(9), origin=events.new_origin()))
    await site.until(lambda: site.is_cordoned("late"))

    assert site.is_cordoned("node-0")


async def test_a_node_that_joins_after_its_event_is_seen_by_the_watch(site: Site) -> None:
    operator = await site.start()
    await site.until(lambda: bool(operator.logged("leadership_acquired")))

    site.aws.put_event(aws_events.spot_interruption(_instance(5), origin=events.new_origin()))
    await asyncio.sleep(1)
    site.cluster.add_node("joined", instance_id=_instance(5))
    await site.until(lambda: site.is_cordoned("joined"))

    (message,) = site.aws.message_log(site.stack.queue_url)
    assert len(message.received_at) == 1


async def test_a_list_of_nodes_may_take_longer_than_one_request(site: Site) -> None:
    for number in range(501):
        site.cluster.add_node(f"node-{number}", instance_id=_instance(number))
    site.server.faults.add(faults.Fault(faults.Delay(3.5), path="/api/v1/nodes", times=2))

    operator = await site.start()

    assert operator.logged("nodes_indexed")["nodes"] == 501


async def test_an_api_server_that_never_answers_is_one_line_at_the_start(site: Site) -> None:
    site.server.faults.add(faults.Fault(faults.Hang(), path="/api.*"))

    operator = await site.launch()

    assert await operator.ended() == 1
    assert "the Kubernetes API server did not answer within 6 s" in operator.lines()[-1]["cause"]


async def test_a_missing_permission_is_one_line_at_the_start(site: Site) -> None:
    site.server.denials.append(api.Denial("create", "pods/eviction"))
    site.server.denials.append(api.Denial("create", "events"))

    operator = await site.launch()

    assert await operator.ended() == 1
    last = operator.lines()[-1]
    assert last["event"] == "cannot_start"
    assert "not allowed to create pods/eviction;" in last["cause"]


async def test_probes_and_metrics_answer(site: Site) -> None:
    site.cluster.add_node("node-0", instance_id=_instance(0))
    operator = await site.start()
    await site.until(lambda: bool(operator.logged("leadership_acquired")))
    site.aws.put_event(aws_events.spot_interruption(_instance(0), origin=events.new_origin()))
    await site.until(site.is_settled)
    url = f"http://127.0.0.1:{operator.logged('http_listening')['port']}"

    assert await _get(f"{url}/healthz") == (200, "ok\n")
    assert await _get(f"{url}/readyz") == (200, "ok\n")
    _, metrics = await _get(f"{url}/metrics")
    assert "queue_processor_is_leader 1.0" in metrics
    assert 'queue_processor_messages_total{kind="spot_interruption",outcome="done"} 1.0' in metrics
