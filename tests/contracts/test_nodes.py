"""What Nodes do, whichever way their requests take."""

import asyncio
import dataclasses
import datetime as dt

import pytest

from queue_processor.adapters.kube.nodes import KubeNodes, NodeReader
from queue_processor.controller import ports
from queue_processor.controller.ports import DrainProgress
from queue_processor.domain import errors, nodes, selectors
from queue_processor.domain.events import EventKind
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.nodes import Mark, NodeView, Taint
from queue_processor.simulator.kube import objects
from tests.contracts import clusters
from tests.contracts.clusters import Site

NAME = NodeName("node-a")
INSTANCE = "i-0123456789abcdef0"
DEADLINE = dt.datetime(2026, 5, 1, 12, 2, tzinfo=dt.UTC)
MARK = Mark(
    taint=EventKind.SPOT_INTERRUPTION,
    event_id="event",
    kind=EventKind.SPOT_INTERRUPTION,
    deadline_at=DEADLINE,
    effect="NoSchedule",
)


@pytest.fixture
def made(site: Site) -> KubeNodes:
    reader = NodeReader(selectors.parse("team=ours"))
    return KubeNodes(site.api, reader=reader, clock=site.clock)


@pytest.fixture
def port(made: KubeNodes) -> ports.Nodes:
    return made


def add(site: Site, name: str = NAME, **options: str) -> None:
    site.cluster.add_node(
        name,
        instance_id=options.get("instance_id", INSTANCE),
        labels={"team": options.get("team", "ours")},
    )


async def read(port: ports.Nodes) -> NodeView:
    view = await port.read(NAME)
    assert view is not None
    return view


async def settle() -> None:
    """Let the controllers of nodes write their own taints."""
    await asyncio.sleep(0.05)


def stored(site: Site) -> objects.Stored:
    node = site.cluster.store.node(NAME)
    assert node is not None
    return node


async def test_a_node_is_read_as_it_is(site: Site, port: ports.Nodes) -> None:
    add(site)
    site.cluster.set_ready(NAME, ready=False)
    await settle()
    view = await read(port)

    node = stored(site)
    assert (view.name, view.instance_id, view.uid) == (NAME, INSTANCE, node.uid)
    assert view.resource_version == str(node.version)
    assert (view.is_ready, view.is_unschedulable) == (False, False)
    assert view.taint_keys == {"node.kubernetes.io/not-ready"}


@pytest.mark.parametrize(
    "options", [{"instance_id": "fargate-ip-10-0-0-1.ec2.internal"}, {"team": "theirs"}]
)
async def test_a_node_that_is_not_ours_is_none(
    site: Site, port: ports.Nodes, options: dict[str, str]
) -> None:
    add(site, **options)

    assert await port.read(NAME) is None


async def test_a_node_that_does_not_exist_is_not_found(port: ports.Nodes) -> None:
    with pytest.raises(errors.NotFound, match=NAME):
        await port.read(NAME)


async def test_a_mark_cordons_taints_labels_and_annotates(site: Site, port: ports.Nodes) -> None:
    add(site)
    before = await read(port)
    marked = await port.mark(before, MARK)

    assert int(marked.resource_version) == int(before.resource_version) + 1
    assert (marked.is_unschedulable, marked.was_cordoned_by_us) == (True, True)
    assert marked.taint_keys >= {"queue-processor/spot-interruption"}
    assert marked.marked_deadline("event") == DEADLINE
    assert stored(site).metadata["labels"][nodes.EXCLUDE_FROM_LOAD_BALANCERS_LABEL] == "true"


async def test_a_mark_keeps_what_others_wrote(site: Site, port: ports.Nodes) -> None:
    add(site)
    foreign = {"key": "foreign", "value": "x", "effect": "NoExecute"}
    await site.api.patch(f"/api/v1/nodes/{NAME}", {"spec": {"taints": [foreign]}})
    await port.mark(await read(port), MARK)
    await settle()
    await port.mark(await read(port), MARK)

    taints = stored(site).spec["taints"]
    assert [taint["key"] for taint in taints].count("queue-processor/spot-interruption") == 1
    assert any(taint["key"] == "foreign" and taint["value"] == "x" for taint in taints)
    assert stored(site).metadata["labels"]["team"] == "ours"


async def test_unmarking_leaves_the_node_as_it_was(site: Site, port: ports.Nodes) -> None:
    add(site)
    foreign = {"key": "foreign", "value": "x", "effect": "PreferNoSchedule"}
    await site.api.patch(f"/api/v1/nodes/{NAME}", {"spec": {"taints": [foreign]}})
    before = await read(port)
    await port.mark(before, MARK)
    await settle()
    await port.unmark(await read(port))
    await settle()

    after = await read(port)
    assert dataclasses.replace(after, resource_version=before.resource_version) == before
    assert nodes.EXCLUDE_FROM_LOAD_BALANCERS_LABEL not in stored(site).metadata["labels"]


async def test_a_node_that_a_person_cordoned_stays_cordoned(site: Site, port: ports.Nodes) -> None:
    add(site)
    await site.api.patch(f"/api/v1/nodes/{NAME}", {"spec": {"unschedulable": True}})
    await settle()
    marked = await port.mark(await read(port), MARK)
    assert not marked.was_cordoned_by_us
    unmarked = await port.unmark(marked)

    assert unmarked.is_unschedulable
    assert "queue-processor/spot-interruption" not in unmarked.taint_keys


async def test_the_conditions_tell_how_the_drain_stands(site: Site, port: ports.Nodes) -> None:
    add(site)
    view = await read(port)
    found = []
    for progress in DrainProgress:
        await port.report(view, progress, "x" * 5000, since=clusters.START)
        conditions = {each["type"]: each for each in stored(site).status["conditions"]}
        found.append((conditions["DrainInProgress"]["status"], conditions["Drained"]["status"]))
        assert conditions["Drained"]["lastTransitionTime"] == "2026-05-01T12:00:00Z"
        assert len(conditions["Drained"]["message"]) == 1024
        assert conditions["Ready"]["status"] == "True"

    assert found == [("True", "False"), ("False", "True"), ("False", "False")]


async def test_an_out_of_service_node_has_the_taint_for_it(site: Site, port: ports.Nodes) -> None:
    add(site)
    await port.declare_out_of_service(await read(port))

    (taint,) = (
        each for each in (await read(port)).taints if each.key == nodes.OUT_OF_SERVICE_TAINT
    )
    expected = Taint(key=nodes.OUT_OF_SERVICE_TAINT, value="nodeshutdown", effect="NoExecute")
    assert dataclasses.replace(taint, added_at=None) == expected


async def write(port: ports.Nodes, view: NodeView, verb: str) -> None:
    """Write in each of the ways."""
    match verb:
        case "mark":
            await port.mark(view, MARK)
        case "unmark":
            await port.unmark(view)
        case "declare":
            await port.declare_out_of_service(view)
        case _:
            await port.report(view, DrainProgress.DRAINED, "done", since=clusters.START)


@pytest.mark.parametrize("verb", ["mark", "unmark", "declare"])
async def test_a_write_from_an_old_version_is_a_conflict_and_changes_nothing(
    site: Site, port: ports.Nodes, verb: str
) -> None:
    add(site)
    view = await read(port)
    site.cluster.set_ready(NAME, ready=False)
    await settle()
    before = stored(site).version

    with pytest.raises(errors.Conflict):
        await write(port, view, verb)
    assert stored(site).version == before


async def test_a_report_does_not_care_who_wrote_before(site: Site, port: ports.Nodes) -> None:
    add(site)
    view = await read(port)
    site.cluster.set_ready(NAME, ready=False)
    await port.report(view, DrainProgress.DRAINED, "done", since=clusters.START)

    conditions = {each["type"]: each["status"] for each in stored(site).status["conditions"]}
    assert (conditions["Drained"], conditions["Ready"]) == ("True", "False")


@pytest.mark.parametrize("verb", ["mark", "unmark", "declare", "report"])
async def test_a_write_to_a_node_that_is_gone_is_not_found(
    site: Site, port: ports.Nodes, verb: str
) -> None:
    add(site)
    view = await read(port)
    site.cluster.remove_node(NAME)

    with pytest.raises(errors.NotFound):
        await write(port, view, verb)


@pytest.mark.parametrize("verb", ["mark", "unmark", "declare"])
async def test_another_node_of_the_same_name_is_left_alone(
    site: Site, port: ports.Nodes, verb: str
) -> None:
    add(site)
    view = await read(port)
    site.cluster.remove_node(NAME)
    add(site)

    with pytest.raises(errors.Conflict):
        await write(port, view, verb)
    assert not (await read(port)).is_unschedulable


async def test_all_nodes_are_listed_page_by_page(site: Site, made: KubeNodes) -> None:
    for number in range(1, 502):
        add(site, f"node-{number:03}", instance_id=f"i-{number:017x}")
    add(site, "other", team="theirs")

    names = [node.name async for node in made.all()]

    assert names == [f"node-{number:03}" for number in range(1, 502)]


async def test_a_list_whose_version_is_forgotten_between_pages_has_to_begin_again(
    site: Site, made: KubeNodes
) -> None:
    for number in range(501):
        add(site, f"node-{number:03}", instance_id=f"i-{number:017x}")
    listing = made.all()
    await anext(listing)
    site.cluster.set_ready("node-000", ready=False)
    site.cluster.compact()

    with pytest.raises(errors.WatchExpired):
        _ = [node async for node in listing]
