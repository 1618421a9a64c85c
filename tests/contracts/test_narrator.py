"""What a Narrator does, whichever way its requests take."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from queue_processor.adapters.kube.narrator import KubeNarrator
from queue_processor.controller import ports
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.pods import PodRef
from queue_processor.observability import metrics
from queue_processor.simulator.kube import faults, objects, resources
from tests.contracts.clusters import Site

POD = PodRef(namespace="kube-system", name="web", uid="uid of web")
NODE = NodeView(
    name=NodeName("node-a"),
    uid="uid of node-a",
    resource_version="1",
    instance_id=InstanceId("i-0123456789abcdef0"),
    is_ready=True,
    is_unschedulable=False,
    taints=(),
    annotations={},
)


@pytest.fixture
async def narrator(site: Site) -> AsyncIterator[KubeNarrator]:
    made = KubeNarrator(site.api, identity="process", clock=site.clock)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@pytest.fixture
def port(narrator: KubeNarrator) -> ports.Narrator:
    return narrator


def written(site: Site) -> list[objects.JsonObject]:
    return [event.body for event in site.cluster.store.every(resources.EVENTS)]


def dropped() -> float:
    (family,) = metrics.EVENTS_DROPPED.collect()
    return next(sample.value for sample in family.samples if sample.name.endswith("_total"))


async def test_an_event_about_a_node_lies_where_people_look_for_it(
    site: Site, port: ports.Narrator, narrator: KubeNarrator
) -> None:
    port.about_node(NODE, "Drained", "all pods are gone", is_warning=False)
    await narrator.flush()

    (event,) = written(site)
    assert event["metadata"]["namespace"] == "default"
    assert event["regarding"]["kind"] == "Node"
    assert (event["regarding"]["name"], event["regarding"]["uid"]) == ("node-a", "node-a")
    assert (event["type"], event["reason"]) == ("Normal", "Drained")
    assert event["note"] == "all pods are gone"


async def test_an_event_about_a_pod_is_a_warning_in_its_namespace(
    site: Site, port: ports.Narrator, narrator: KubeNarrator
) -> None:
    port.about_pod(POD, "Blocked", "a budget says no")
    await narrator.flush()

    (event,) = written(site)
    assert event["metadata"]["namespace"] == POD.namespace
    assert (event["regarding"]["kind"], event["regarding"]["uid"]) == ("Pod", POD.uid)
    assert (event["type"], event["reason"]) == ("Warning", "Blocked")


async def test_events_longer_than_the_api_takes_are_cut(
    site: Site, port: ports.Narrator, narrator: KubeNarrator
) -> None:
    port.about_node(NODE, "Reason" * 50, "x" + "ü" * 5000, is_warning=True)
    await narrator.flush()

    (event,) = written(site)
    assert 1022 < len(event["note"].encode()) <= 1024
    assert len(event["reason"]) == 128


@pytest.mark.parametrize("effect", [faults.Answer(403), faults.Answer(500), faults.Cut()])
async def test_an_event_that_cannot_be_written_is_dropped_and_the_next_is_not(
    site: Site,
    port: ports.Narrator,
    narrator: KubeNarrator,
    effect: faults.Answer | faults.Cut,
) -> None:
    before = dropped()
    site.server.faults.add(faults.Fault(effect, method="POST", times=1))
    port.about_pod(POD, "First", "is lost")
    await narrator.flush()
    port.about_pod(POD, "Second", "is not")
    await narrator.flush()

    assert [event["reason"] for event in written(site)] == ["Second"]
    assert dropped() == before + 1


async def test_what_cannot_be_kept_is_dropped_without_waiting(site: Site) -> None:
    before = dropped()
    silent: ports.Narrator = KubeNarrator(site.api, identity="process", clock=site.clock)
    for _ in range(1_005):
        silent.about_pod(POD, "Blocked", "a budget says no")

    assert dropped() == before + 5
    assert written(site) == []
