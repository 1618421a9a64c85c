"""Contract of `Nodes`."""

import dataclasses
import datetime as dt

import pytest

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.nodes import KubeNodes, NodeReader
from queue_processor.adapters.kube.transport import JsonObject
from queue_processor.controller import ports
from queue_processor.domain import errors, nodes, selectors
from queue_processor.domain.deadlines import Deadline
from queue_processor.domain.events import EventKind
from queue_processor.domain.holds import Hold
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.nodes import (
    DrainProgress,
    Mark,
    NodeView,
    Taint,
    TaintEffect,
    WrittenNotice,
)
from queue_processor.domain.plan import Action, InstanceResult
from tests.contracts.kubernetes.cluster import Cluster
from tests.contracts.kubernetes.wire import SmallPages

OURS = {"team": "ours"}
INSTANCE = "i-0123456789abcdef0"
MOMENT = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
DEADLINE = dt.datetime(2026, 5, 1, 12, 2, tzinfo=dt.UTC)
HOLD = Hold(
    id="event",
    event_id="event",
    kind=EventKind.SPOT_INTERRUPTION,
    action=Action.CORDON_AND_DRAIN,
    occurred_at=MOMENT,
    since=MOMENT,
    deadline=Deadline(at=DEADLINE, is_hard=True, instance_ends_at=DEADLINE),
)
MARK = Mark(holds=(HOLD,), ruling=HOLD, effect=TaintEffect.NO_SCHEDULE)
NO_MARK = Mark(holds=(), ruling=None, effect=TaintEffect.NO_SCHEDULE)
OUR_TAINT = "queue-processor/spot-interruption"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
READER = NodeReader(selectors.parse("team=ours"))


@pytest.fixture
def port(cluster: Cluster) -> ports.Nodes:
    return KubeNodes(cluster.api, reader=READER, clock=cluster.clock)


async def read(port: ports.Nodes, name: str) -> NodeView:
    view = await port.read(NodeName(name))
    assert view is not None
    return view


async def settled(cluster: Cluster, port: ports.Nodes, name: str) -> NodeView:
    """Return the node once its controller has added or removed the unschedulable taint."""

    async def is_settled() -> bool:
        spec = (await cluster.admin.node(name))["spec"]
        keys = {taint["key"] for taint in spec.get("taints") or []}
        return (UNSCHEDULABLE in keys) is bool(spec.get("unschedulable"))

    await cluster.admin.until(is_settled)
    return await read(port, name)


async def conditions_of(cluster: Cluster, name: str) -> dict[str, dict[str, str]]:
    status = (await cluster.admin.node(name))["status"]
    return {each["type"]: each for each in status["conditions"]}


# Reading.


async def test_a_node_is_read_as_it_is(cluster: Cluster, port: ports.Nodes) -> None:
    name = await cluster.add_node(labels=OURS, instance_id=INSTANCE, is_ready=False)

    async def read_at_rest() -> tuple[NodeView, JsonObject] | None:
        # Its controller adds the second taint late.
        view, node = await read(port, name), await cluster.admin.node(name)
        is_same = view.resource_version == node["metadata"]["resourceVersion"]
        return (view, node) if is_same else None

    found = await cluster.admin.until(read_at_rest)
    assert found is not None
    view, node = found
    assert (view.name, view.instance_id) == (name, INSTANCE)
    assert view.uid == node["metadata"]["uid"]
    assert (view.is_ready, view.is_unschedulable) == (False, False)
    assert view.taint_keys == {"node.kubernetes.io/not-ready"}


async def test_a_node_that_is_ready_is_read_as_ready(cluster: Cluster, port: ports.Nodes) -> None:
    view = await read(port, await cluster.add_node(labels=OURS))

    assert (view.is_ready, view.taints) == (True, ())


async def test_a_node_that_is_no_instance_is_none(cluster: Cluster, port: ports.Nodes) -> None:
    name = await cluster.add_node(labels=OURS, instance_id="fargate-ip-10-0-0-1.ec2.internal")

    assert await port.read(NodeName(name)) is None


async def test_a_node_is_read_whether_it_is_selected_or_not(
    cluster: Cluster, port: ports.Nodes
) -> None:
    name = await cluster.add_node(labels={"team": "theirs"}, instance_id=INSTANCE)

    assert (await read(port, name)).instance_id == INSTANCE


async def test_a_node_that_does_not_exist_is_not_found(cluster: Cluster, port: ports.Nodes) -> None:
    with pytest.raises(errors.NotFound, match='nodes "node-z" not found'):
        await port.read(NodeName("node-z"))

    assert cluster.wire.last.refusal == (404, "NotFound", ())


async def test_all_nodes_are_listed_page_by_page(cluster: Cluster) -> None:
    names = [await cluster.add_node(labels=OURS) for _ in range(5)]
    await cluster.add_node(labels={"team": "theirs"})
    wire = SmallPages(cluster.wire)
    port = KubeNodes(KubeApi(wire), reader=READER, clock=cluster.clock)

    assert [node.name async for node in port.all()] == sorted(names)
    assert len(wire.calls) >= 3
    versions = {call.json["metadata"]["resourceVersion"] for call in wire.calls}
    assert len(versions) == 1


async def test_a_list_whose_version_expires_between_pages_has_to_begin_again(
    cluster: Cluster,
) -> None:
    for _ in range(3):
        await cluster.add_node(labels=OURS)
    wire = SmallPages(cluster.wire, cluster.expired_page)
    listing = KubeNodes(KubeApi(wire), reader=READER, clock=cluster.clock).all()
    await anext(listing)

    with pytest.raises(errors.WatchExpired, match="continue parameter is too old"):
        _ = [node async for node in listing]
    assert cluster.wire.last.refusal == (410, "Expired", ())


# Marks.


async def test_a_mark_cordons_taints_labels_and_annotates_in_one_write(
    cluster: Cluster, port: ports.Nodes
) -> None:
    before = await read(port, await cluster.add_node(labels=OURS))
    requests = len(cluster.wire.calls)
    marked = await port.mark(before, MARK)

    assert len(cluster.wire.calls) == requests + 1
    assert int(marked.resource_version) > int(before.resource_version)
    assert (marked.is_unschedulable, marked.is_cordoned_by_us) == (True, True)
    assert marked.taints == (Taint(key=OUR_TAINT, effect="NoSchedule"),)
    assert (marked.holds, marked.has_damaged_holds) == ((HOLD,), False)
    assert not MARK.differs_from(marked)
    node = await cluster.admin.node(before.name)
    assert node["metadata"]["labels"][nodes.EXCLUDE_FROM_LOAD_BALANCERS_LABEL] == "true"
    assert node["metadata"]["annotations"][nodes.DEADLINE_ANNOTATION] == DEADLINE.isoformat()


async def test_a_mark_that_is_repeated_changes_nothing(cluster: Cluster, port: ports.Nodes) -> None:
    name = await cluster.add_node(labels=OURS)
    await port.mark(await read(port, name), MARK)
    marked = await settled(cluster, port, name)

    assert not MARK.differs_from(marked)
    assert await port.mark(marked, MARK) == marked


async def test_a_mark_keeps_what_others_wrote(cluster: Cluster, port: ports.Nodes) -> None:
    name = await cluster.add_node(labels=OURS)
    foreign = {"key": "foreign", "value": "x", "effect": "NoExecute"}
    await cluster.admin.api.patch(f"/api/v1/nodes/{name}", {"spec": {"taints": [foreign]}})
    await port.mark(await read(port, name), MARK)
    await port.mark(await settled(cluster, port, name), MARK)

    node = await cluster.admin.node(name)
    taints = {taint["key"]: taint.get("value") for taint in node["spec"]["taints"]}
    assert taints == {"foreign": "x", OUR_TAINT: None, UNSCHEDULABLE: None}
    assert len(node["spec"]["taints"]) == 3
    assert node["metadata"]["labels"]["team"] == "ours"


async def test_unmarking_leaves_the_node_as_it_was(cluster: Cluster, port: ports.Nodes) -> None:
    name = await cluster.add_node(labels=OURS)
    foreign = {"key": "foreign", "value": "x", "effect": "PreferNoSchedule"}
    await cluster.admin.api.patch(f"/api/v1/nodes/{name}", {"spec": {"taints": [foreign]}})
    before = await read(port, name)
    await port.mark(before, MARK)
    await port.mark(await settled(cluster, port, name), NO_MARK)

    after = await settled(cluster, port, name)
    assert dataclasses.replace(after, resource_version=before.resource_version) == before
    node = await cluster.admin.node(name)
    assert "unschedulable" not in node["spec"]
    assert nodes.EXCLUDE_FROM_LOAD_BALANCERS_LABEL not in node["metadata"]["labels"]


async def test_a_node_that_a_person_cordoned_stays_cordoned(
    cluster: Cluster, port: ports.Nodes
) -> None:
    name = await cluster.add_node(labels=OURS)
    await cluster.admin.api.patch(f"/api/v1/nodes/{name}", {"spec": {"unschedulable": True}})
    marked = await port.mark(await settled(cluster, port, name), MARK)
    assert not marked.is_cordoned_by_us
    unmarked = await port.mark(marked, NO_MARK)

    assert unmarked.is_unschedulable
    assert OUR_TAINT not in unmarked.taint_keys


async def test_an_out_of_service_node_has_the_taint_for_it(
    cluster: Cluster, port: ports.Nodes
) -> None:
    name = await cluster.add_node(labels=OURS)
    await port.declare_out_of_service(await read(port, name))

    (taint,) = (await cluster.admin.node(name))["spec"]["taints"]
    assert taint == {
        "key": nodes.OUT_OF_SERVICE_TAINT,
        "value": "nodeshutdown",
        "effect": "NoExecute",
    }


async def test_a_label_that_was_there_before_the_mark_stays_when_it_goes(
    cluster: Cluster, port: ports.Nodes
) -> None:
    label = nodes.EXCLUDE_FROM_LOAD_BALANCERS_LABEL
    name = await cluster.add_node(labels=OURS | {label: "by-hand"})
    await port.mark(await read(port, name), MARK)
    await port.mark(await settled(cluster, port, name), NO_MARK)

    assert (await cluster.admin.node(name))["metadata"]["labels"][label] == "by-hand"


async def test_an_out_of_service_taint_of_ours_goes_with_the_mark(
    cluster: Cluster, port: ports.Nodes
) -> None:
    name = await cluster.add_node(labels=OURS)
    declared = await port.declare_out_of_service(await read(port, name))
    assert declared.is_out_of_service_by_us
    restored = await port.mark(declared, NO_MARK)

    assert not restored.is_out_of_service
    assert not restored.is_marked


# Conditions.


async def test_a_report_writes_the_holds_down_in_the_same_request(
    cluster: Cluster, port: ports.Nodes
) -> None:
    marked = await port.mark(await read(port, await cluster.add_node(labels=OURS)), MARK)
    ended = HOLD.ended(InstanceResult.DRAINED)
    await port.report(marked, DrainProgress.DRAINED, "done", since=MOMENT, held=[ended])

    assert (await read(port, marked.name)).holds == (ended,)
    assert (await conditions_of(cluster, marked.name))["Drained"]["status"] == "True"


async def test_the_conditions_show_the_progress_of_the_drain(
    cluster: Cluster, port: ports.Nodes
) -> None:
    view = await read(port, await cluster.add_node(labels=OURS))
    found = []
    for progress in DrainProgress:
        await port.report(view, progress, "x" * 5000, since=MOMENT)
        conditions = await conditions_of(cluster, view.name)
        found.append((conditions["DrainInProgress"]["status"], conditions["Drained"]["status"]))
        assert conditions["Drained"]["lastTransitionTime"] == "2026-05-01T12:00:00Z"
        assert len(conditions["Drained"]["message"]) == 1024
        assert conditions["Ready"]["status"] == "True"

    assert found == [("True", "False"), ("False", "True"), ("False", "False")]


async def test_a_report_is_written_whatever_the_version(
    cluster: Cluster, port: ports.Nodes
) -> None:
    view = await read(port, await cluster.add_node(labels=OURS))
    await cluster.admin.touch(view.name)
    await port.report(view, DrainProgress.DRAINED, "done", since=MOMENT)

    conditions = await conditions_of(cluster, view.name)
    assert (conditions["Drained"]["status"], conditions["Ready"]["status"]) == ("True", "True")


# Writes that come too late.


async def write(port: ports.Nodes, view: NodeView, verb: str) -> None:
    """Write with one of the methods."""
    match verb:
        case "mark":
            await port.mark(view, MARK)
        case "unmark":
            await port.mark(view, NO_MARK)
        case "declare":
            await port.declare_out_of_service(view)
        case _:
            await port.report(view, DrainProgress.DRAINED, "done", since=MOMENT)


def apart_from_kubelet(node: JsonObject) -> JsonObject:
    """Return a node without what its kubelet may write at any moment: its status, and versions."""
    left_out = {"managedFields", "resourceVersion"}
    metadata = {key: value for key, value in node["metadata"].items() if key not in left_out}
    return {"metadata": metadata, "spec": node["spec"]}


@pytest.mark.parametrize("verb", ["mark", "unmark", "declare"])
async def test_a_write_from_an_old_version_is_a_conflict_and_changes_nothing(
    cluster: Cluster, port: ports.Nodes, verb: str
) -> None:
    view = await read(port, await cluster.add_node(labels=OURS))
    await cluster.admin.touch(view.name)
    before = apart_from_kubelet(await cluster.admin.node(view.name))

    with pytest.raises(errors.Conflict, match="the object has been modified"):
        await write(port, view, verb)
    assert cluster.wire.last.refusal == (409, "Conflict", ())
    assert apart_from_kubelet(await cluster.admin.node(view.name)) == before


@pytest.mark.parametrize("verb", ["mark", "unmark", "declare", "report"])
async def test_a_write_to_a_node_that_is_gone_is_not_found(
    cluster: Cluster, port: ports.Nodes, verb: str
) -> None:
    view = await read(port, await cluster.add_node(labels=OURS))
    await cluster.admin.remove(f"/api/v1/nodes/{view.name}")

    with pytest.raises(errors.NotFound):
        await write(port, view, verb)


@pytest.mark.parametrize("verb", ["mark", "unmark", "declare"])
async def test_another_node_of_the_same_name_is_left_alone(
    cluster: Cluster, port: ports.Nodes, verb: str
) -> None:
    view = await read(port, await cluster.add_node(labels=OURS))
    await cluster.admin.remove(f"/api/v1/nodes/{view.name}")
    await cluster.add_node(view.name, labels=OURS)
    before = apart_from_kubelet(await cluster.admin.node(view.name))

    with pytest.raises(errors.Conflict):
        await write(port, view, verb)
    assert apart_from_kubelet(await cluster.admin.node(view.name)) == before


# Notices.

NOTICE = WrittenNotice("queue-processor/notice-spot-interruption", '{"said": "~1/~0"}')


async def with_notice(cluster: Cluster, port: ports.Nodes) -> NodeView:
    name = await cluster.add_node(labels=OURS)
    await annotate(cluster, name, NOTICE.value)
    return await read(port, name)


async def annotate(cluster: Cluster, name: str, value: str | None) -> None:
    change = {"metadata": {"annotations": {NOTICE.annotation: value}}}
    await cluster.admin.api.patch(f"/api/v1/nodes/{name}", change)


async def test_a_notice_is_removed_and_nothing_else(cluster: Cluster, port: ports.Nodes) -> None:
    node = await with_notice(cluster, port)
    assert node.notices == (NOTICE,)

    written = await port.remove_notice(node, NOTICE)

    after = await read(port, node.name)
    assert written.notices == after.notices == ()
    assert dataclasses.replace(
        node, resource_version=after.resource_version, notices=()
    ) == dataclasses.replace(after, last_heartbeat_at=node.last_heartbeat_at)


async def test_another_notice_in_its_place_stays(cluster: Cluster, port: ports.Nodes) -> None:
    node = await with_notice(cluster, port)
    await annotate(cluster, node.name, "newer")

    written = await port.remove_notice(node, NOTICE)

    newer = (dataclasses.replace(NOTICE, value="newer"),)
    assert written.notices == (await read(port, node.name)).notices == newer


async def test_a_notice_that_is_removed_already_is_no_error(
    cluster: Cluster, port: ports.Nodes
) -> None:
    node = await with_notice(cluster, port)
    await annotate(cluster, node.name, None)

    assert (await port.remove_notice(node, NOTICE)).notices == ()


async def test_a_notice_on_a_node_that_is_gone_is_not_found(
    cluster: Cluster, port: ports.Nodes
) -> None:
    node = await with_notice(cluster, port)
    with pytest.raises(errors.NotFound):
        await port.remove_notice(dataclasses.replace(node, name=NodeName("gone")), NOTICE)


async def test_a_notice_on_another_node_with_the_name_stays(
    cluster: Cluster, port: ports.Nodes
) -> None:
    node = await with_notice(cluster, port)
    with pytest.raises(errors.NotFound):
        await port.remove_notice(dataclasses.replace(node, uid="another"), NOTICE)

    assert (await read(port, node.name)).notices == (NOTICE,)
