"""What Pods do, whichever way their requests take."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator

import pytest

from queue_processor.adapters.kube.pods import KubePods
from queue_processor.controller import ports
from queue_processor.domain import errors
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.pods import EvictionAnswer, PodChange, PodRef, PodView
from queue_processor.simulator.kube import api, faults, manifests, objects, resources
from tests.contracts.clusters import Site

NODE = NodeName("node-a")
LABELS = {"app": "web"}


@pytest.fixture
def port(site: Site) -> ports.Pods:
    site.cluster.add_node(NODE, instance_id="i-0123456789abcdef0")
    site.cluster.add_node("node-b", instance_id="i-0123456789abcdef1")
    return KubePods(site.api)


def ref(pod: objects.Stored) -> PodRef:
    return PodRef(namespace=pod.namespace, name=pod.name, uid=pod.uid)


def add(site: Site, name: str = "web", **spec: float) -> PodRef:
    """A pod that stays for long after SIGTERM, so that it is there to look at."""
    seconds = spec.get("exit_seconds", 20)
    made = manifests.PodSpec(labels=LABELS, grace_seconds=30, exit_seconds=seconds)
    return ref(site.cluster.add_pod(name, node=NODE, spec=made))


def find(site: Site, pod: PodRef) -> objects.Stored | None:
    found = site.cluster.store.get(resources.PODS, pod.namespace, pod.name)
    return found if found is not None and found.uid == pod.uid else None


def is_told_to_stop(site: Site, pod: PodRef) -> bool:
    found = find(site, pod)
    return found is None or "deletionTimestamp" in found.metadata


# Lists.


async def test_the_pods_of_a_node_are_listed_and_no_others(site: Site, port: ports.Pods) -> None:
    web = add(site)
    site.cluster.add_pod("elsewhere", node="node-b")
    daemons = site.cluster.add_daemon_set("agent", labels={"app": "agent"}, nodes=[NODE])
    site.cluster.add_pod("static", node=NODE, mirror=True)
    site.cluster.add_pod("done", node=NODE, phase="Succeeded")
    spec = manifests.PodSpec(volumes=["data"], priority_class="system-node-critical")
    site.cluster.add_pod("database", node=NODE, spec=spec)
    listed = await port.on_node(NODE)

    found = {pod.ref.name.partition("-")[0]: pod for pod in listed.pods}
    assert set(found) == {"web", "agent", "static", "done", "database"}
    assert found["web"] == PodView(ref=web, grace=dt.timedelta(seconds=30))
    assert found["agent"].owner_kind == daemons.resource.kind
    assert found["static"].is_mirror
    assert found["done"].is_finished
    assert found["database"].claims == ("data",)
    assert found["database"].priority_class == "system-node-critical"
    assert int(listed.version) >= max(pod.version for pod in site.cluster.store.pods_on(NODE))


async def test_a_node_without_pods_has_an_empty_list_to_watch_from(port: ports.Pods) -> None:
    listed = await port.on_node(NODE)

    assert listed.pods == ()
    assert listed.version.isdecimal()


async def test_a_list_of_over_a_thousand_pods_is_whole(site: Site, port: ports.Pods) -> None:
    for number in range(1_001):
        add(site, f"web-{number}")

    assert len((await port.on_node(NODE)).pods) == 1_001


# Watches.


async def next_of(changes: AsyncIterator[PodChange]) -> PodChange:
    async with asyncio.timeout(5):
        return await anext(changes)


async def test_a_watch_goes_on_from_the_version_of_the_list(site: Site, port: ports.Pods) -> None:
    add(site, "old")
    version = (await port.on_node(NODE)).version
    new = add(site, "new")
    async with port.watch(version) as changes:
        added = await next_of(changes)
        await port.delete(new, dt.timedelta(seconds=20))
        stopping = await next_of(changes)
        await port.delete(new, dt.timedelta())
        while not (last := await next_of(changes)).is_gone:
            pass

    assert added.pod is not None
    assert stopping.pod is not None
    assert last.pod is not None
    assert (added.pod.ref, added.is_gone, added.pod.is_terminating) == (new, False, False)
    assert (stopping.pod.ref, stopping.is_gone, stopping.pod.is_terminating) == (new, False, True)
    assert last.pod.ref == new
    assert int(version) < int(added.version) < int(stopping.version) < int(last.version)


async def test_a_watch_tells_of_all_nodes_and_names_the_node(site: Site, port: ports.Pods) -> None:
    version = (await port.on_node(NODE)).version
    site.cluster.add_pod("elsewhere", node="node-b")
    add(site, "here")
    async with port.watch(version) as changes:
        found = [await next_of(changes) for _ in range(2)]

    assert [change.pod and (change.pod.ref.name, change.node_name) for change in found] == [
        ("elsewhere", "node-b"),
        ("here", NODE),
    ]


async def test_a_watch_that_is_opened_again_goes_on_after_the_last_change(
    site: Site, port: ports.Pods
) -> None:
    version = (await port.on_node(NODE)).version
    first = add(site, "first")
    async with port.watch(version) as changes:
        version = (await next_of(changes)).version
    second = add(site, "second")
    async with port.watch(version) as changes:
        change = await next_of(changes)

    assert change.pod is not None
    assert change.pod.ref == second != first


async def test_a_bookmark_brings_a_version_and_no_pod(site: Site, port: ports.Pods) -> None:
    version = (await port.on_node(NODE)).version
    async with port.watch(version) as changes:
        waiting = asyncio.create_task(next_of(changes))
        await site.until(lambda: site.cluster.hub.count == 1)
        site.cluster.set_ready("node-b", ready=False)
        ((watcher,),) = site.cluster.hub._open.values()
        watcher.bookmark()
        change = await waiting

    assert change.pod is None
    assert int(change.version) > int(version)


async def test_a_watch_ends_when_the_server_ends_it(site: Site, port: ports.Pods) -> None:
    version = (await port.on_node(NODE)).version
    async with port.watch(version) as changes:
        site.cluster.drop_watches()

        assert [change async for change in changes] == []


async def test_a_watch_from_a_forgotten_version_is_expired(site: Site, port: ports.Pods) -> None:
    version = (await port.on_node(NODE)).version
    add(site)
    site.cluster.compact()
    with pytest.raises(errors.WatchExpired):
        async with port.watch(version) as changes:
            await next_of(changes)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (410, errors.WatchExpired),
        (403, errors.PermanentFault),
        (401, errors.TemporaryFault),
        (429, errors.TemporaryFault),
        (500, errors.TemporaryFault),
    ],
)
async def test_a_watch_that_is_refused_says_why(
    site: Site, port: ports.Pods, code: int, expected: type[Exception]
) -> None:
    site.server.faults.add(faults.Fault(faults.Answer(code, message="not today")))
    with pytest.raises(expected, match="not today"):
        async with port.watch("1"):
            pass


async def test_a_watch_whose_connection_is_cut_is_a_fault_and_can_be_opened_again(
    site: Site, port: ports.Pods
) -> None:
    version = (await port.on_node(NODE)).version
    async with port.watch(version) as changes:
        await site.way.cut()
        with pytest.raises(errors.TemporaryFault):
            await next_of(changes)
    with pytest.raises(errors.TemporaryFault):
        async with port.watch(version):
            pass
    await site.way.restore()
    new = add(site, "new")
    async with port.watch(version) as changes:
        change = await next_of(changes)

    assert change.pod is not None
    assert change.pod.ref == new


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_watch_that_is_cut_at_its_beginning_is_a_fault(
    site: Site, port: ports.Pods, *, is_late: bool
) -> None:
    site.server.faults.add(faults.Fault(faults.Cut(after_effect=is_late)))
    with pytest.raises(errors.TemporaryFault):
        async with port.watch("1"):
            pass

    assert site.cluster.hub.count == 0


async def test_what_fails_while_a_watch_is_open_keeps_its_own_name(
    site: Site, port: ports.Pods
) -> None:
    version = (await port.on_node(NODE)).version
    with pytest.raises(TimeoutError, match="of our own"):
        async with port.watch(version):
            raise TimeoutError("of our own")

    await site.until(lambda: site.cluster.hub.count == 0)


async def test_a_watch_that_nobody_reads_any_more_is_closed(site: Site, port: ports.Pods) -> None:
    version = (await port.on_node(NODE)).version
    async with port.watch(version):
        await site.until(lambda: site.cluster.hub.count == 1)

    await site.until(lambda: site.cluster.hub.count == 0)


# Evictions.


async def test_an_accepted_eviction_stops_the_pod_with_its_own_grace(
    site: Site, port: ports.Pods
) -> None:
    pod = add(site)
    eviction = await port.evict(pod)

    assert eviction.answer is EvictionAnswer.ACCEPTED
    found = find(site, pod)
    assert found is not None
    assert found.metadata["deletionGracePeriodSeconds"] == 30


async def test_a_pod_that_is_gone_is_gone(site: Site, port: ports.Pods) -> None:
    pod = add(site)
    await port.delete(pod, dt.timedelta())
    await site.until(lambda: find(site, pod) is None)

    assert (await port.evict(pod)).answer is EvictionAnswer.GONE


async def test_another_pod_of_the_same_name_is_not_evicted(site: Site, port: ports.Pods) -> None:
    old = PodRef(namespace="default", name="web", uid="the uid of its predecessor")
    new = add(site)
    eviction = await port.evict(old)

    assert eviction.answer is EvictionAnswer.GONE
    assert "UID" in eviction.message
    assert not is_told_to_stop(site, new)


async def test_a_budget_blocks_an_eviction(site: Site, port: ports.Pods) -> None:
    pod = add(site)
    site.cluster.add_budget("web", match_labels=LABELS, max_unavailable=0)
    unobserved = await port.evict(pod)
    await asyncio.sleep(0.1)
    eviction = await port.evict(pod)

    assert unobserved.answer is EvictionAnswer.BLOCKED
    assert unobserved.retry_after == dt.timedelta(seconds=10)
    assert (eviction.answer, eviction.retry_after) == (EvictionAnswer.BLOCKED, None)
    assert "The disruption budget web needs" in eviction.message
    assert not is_told_to_stop(site, pod)


async def test_a_busy_server_is_told_from_a_budget(site: Site, port: ports.Pods) -> None:
    pod = add(site)
    busy = faults.Answer(429, "TooManyRequests", "too many requests", retry_after=3)
    site.server.faults.add(faults.Fault(busy))
    eviction = await port.evict(pod)

    assert eviction.answer is EvictionAnswer.BUSY
    assert eviction.retry_after == dt.timedelta(seconds=3)


async def test_two_budgets_on_a_pod_are_ambiguous(site: Site, port: ports.Pods) -> None:
    pod = add(site)
    for name in ("one", "two"):
        site.cluster.add_budget(name, match_labels=LABELS, max_unavailable=1)

    assert (await port.evict(pod)).answer is EvictionAnswer.AMBIGUOUS
    assert not is_told_to_stop(site, pod)


async def test_a_namespace_that_terminates_takes_no_evictions(site: Site, port: ports.Pods) -> None:
    site.cluster.add_namespace("leaving")
    made = site.cluster.add_pod(
        "web", namespace="leaving", node=NODE, spec=manifests.PodSpec(exit_seconds=20)
    )
    site.cluster.terminate_namespace("leaving")

    assert (await port.evict(ref(made))).answer is EvictionAnswer.NAMESPACE_TERMINATING


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (400, errors.PermanentFault),
        (401, errors.TemporaryFault),
        (403, errors.PermanentFault),
        (422, errors.PermanentFault),
        (500, errors.TemporaryFault),
        (503, errors.TemporaryFault),
    ],
)
async def test_any_other_refusal_of_an_eviction_is_a_fault(
    site: Site, port: ports.Pods, code: int, expected: type[Exception]
) -> None:
    pod = add(site)
    site.server.faults.add(faults.Fault(faults.Answer(code, message="not today")))
    with pytest.raises(expected, match="not today"):
        await port.evict(pod)

    assert not is_told_to_stop(site, pod)


@pytest.mark.parametrize("is_late", [False, True])
async def test_an_eviction_whose_answer_is_lost_can_be_repeated(
    site: Site, port: ports.Pods, *, is_late: bool
) -> None:
    pod = add(site)
    site.server.faults.add(faults.Fault(faults.Cut(after_effect=is_late), times=1))
    with pytest.raises(errors.TemporaryFault):
        await port.evict(pod)
    assert is_told_to_stop(site, pod) == is_late

    assert (await port.evict(pod)).answer is EvictionAnswer.ACCEPTED
    assert is_told_to_stop(site, pod)


async def test_a_right_that_is_missing_is_a_permanent_fault(site: Site, port: ports.Pods) -> None:
    pod = add(site)
    site.server.denials.append(api.Denial(verb="create", resource="pods/eviction"))

    with pytest.raises(errors.PermanentFault, match="cannot create"):
        await port.evict(pod)


# Deletions.


async def test_a_deletion_has_the_grace_that_was_asked_for(site: Site, port: ports.Pods) -> None:
    pod = add(site)
    site.cluster.add_budget("web", match_labels=LABELS, max_unavailable=0)
    await asyncio.sleep(0.1)
    await port.delete(pod, dt.timedelta(seconds=7))

    found = find(site, pod)
    assert found is not None
    assert found.metadata["deletionGracePeriodSeconds"] == 7


async def test_a_deletion_without_grace_removes_the_pod(site: Site, port: ports.Pods) -> None:
    pod = add(site)
    await port.evict(pod)
    await port.delete(pod, dt.timedelta())

    await site.until(lambda: find(site, pod) is None)


async def test_deleting_a_pod_that_is_gone_changes_nothing(site: Site, port: ports.Pods) -> None:
    pod = add(site)
    await port.delete(pod, dt.timedelta())
    await site.until(lambda: find(site, pod) is None)
    new = add(site)
    await port.delete(pod, dt.timedelta())
    await port.delete(PodRef(namespace="default", name="other", uid="x"), dt.timedelta())

    assert not is_told_to_stop(site, new)


async def test_requests_that_are_cut_off_in_an_outage_are_faults(
    site: Site, port: ports.Pods
) -> None:
    site.server.faults.add(faults.Fault(faults.Delay(3), times=1))
    asking = asyncio.create_task(port.on_node(NODE))
    await asyncio.sleep(0.1)
    await site.way.cut()
    await asyncio.wait((asking,), timeout=1)
    assert isinstance(asking.exception(), errors.TemporaryFault)
    with pytest.raises(errors.TemporaryFault):
        await port.on_node(NODE)
    await site.way.restore()

    with contextlib.suppress(errors.TemporaryFault):
        # A connection that the server closed may be found out only by its use.
        await port.on_node(NODE)
    assert (await port.on_node(NODE)).pods == ()
