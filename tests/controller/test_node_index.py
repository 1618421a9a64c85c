"""The node index: Nodes by UID, several for one instance, and lists that meet the watch."""

import asyncio
import dataclasses
import itertools

import pytest
import structlog.testing
from hypothesis import given
from hypothesis import strategies as st

from queue_processor.controller.node_index import NodeIndex
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.nodes import NodeView, UnmappedNode
from tests.controller import stage

OLD = NodeView(
    name=NodeName("node-0"),
    uid="old",
    resource_version="10",
    instance_id=stage.instance(0),
    is_ready=True,
    is_unschedulable=False,
    taints=(),
)
CHANGED = dataclasses.replace(OLD, resource_version="11", is_unschedulable=True)
NEW = dataclasses.replace(OLD, uid="new", resource_version="12", instance_id=stage.instance(1))
OTHER = dataclasses.replace(OLD, name=NodeName("node-1"), uid="other", resource_version="9")


def _index(*nodes: NodeView) -> NodeIndex:
    index = NodeIndex()
    for node in nodes:
        index.put(node)
    return index


def test_both_nodes_of_an_instance_are_found_by_name_order() -> None:
    index = _index(OTHER, OLD)

    assert index.nodes_of(stage.instance(0)) == (OLD, OTHER)
    assert len(index) == 2


def test_of_two_nodes_of_an_instance_the_one_that_is_ready_counts() -> None:
    index = _index(dataclasses.replace(OLD, is_ready=False), OTHER)

    assert index.find(stage.instance(0)) == OTHER


def test_when_one_of_two_nodes_of_an_instance_goes_the_other_stays() -> None:
    index = _index(OLD, OTHER)
    index.remove("old")

    assert index.nodes_of(stage.instance(0)) == (OTHER,)


@pytest.mark.parametrize(
    "order",
    # Events of one Node come in their order, those of two Nodes in any.
    [
        order
        for order in itertools.permutations(range(4))
        if [event for event in order if event != 3] == [0, 1, 2]
    ],
    ids=str,
)
def test_a_node_that_was_registered_again_replaces_the_old_one_in_any_order(
    order: tuple[int, ...],
) -> None:
    index = NodeIndex()
    events = [
        lambda: index.put(OLD),
        lambda: index.put(CHANGED),
        lambda: index.remove("old"),
        lambda: index.put(NEW),
    ]
    for event in order:
        events[event]()

    assert index.get("old") is None
    assert index.nodes_of(stage.instance(0)) == ()
    assert index.nodes_of(stage.instance(1)) == (NEW,)


def test_forgetting_a_ghost_leaves_the_node_of_its_name() -> None:
    index = _index(OLD, NEW)
    index.forget(OLD)

    assert index.get("new") == NEW


def test_a_node_that_gets_another_instance_leaves_the_first() -> None:
    moved = dataclasses.replace(CHANGED, instance_id=stage.instance(7))
    index = _index(OLD, moved)

    assert index.nodes_of(stage.instance(0)) == ()
    assert index.nodes_of(stage.instance(7)) == (moved,)


def test_a_complete_list_removes_what_is_not_in_it() -> None:
    index = _index(OLD, OTHER)
    index.replace([OTHER])

    assert index.nodes_of(stage.instance(0)) == (OTHER,)


def test_a_complete_list_rules_over_versions_that_a_restored_cluster_counts_anew() -> None:
    index = _index(CHANGED)
    restored = dataclasses.replace(OLD, resource_version="3")
    index.replace([restored])

    assert index.get("old") == restored


def test_changes_that_arrive_while_a_list_is_read_are_not_lost() -> None:
    index = _index(OLD, OTHER)
    with index.journal() as changes:
        index.put(CHANGED)
        index.remove("other")
        index.put(dataclasses.replace(NEW, name=NodeName("node-2")))
        index.replace([OLD, OTHER], changes=changes)

    assert index.get("old") == CHANGED
    assert index.get("other") is None
    assert index.get("new") is not None


def test_a_change_that_arrives_late_does_not_undo_a_list() -> None:
    index = _index(OLD)
    with index.journal() as changes:
        index.put(OLD)
        index.replace([CHANGED], changes=changes)
    index.put(OLD)

    assert index.get("old") == CHANGED


UNMAPPED = UnmappedNode(name=NodeName("k3s"), uid="k3s", resource_version="5", cause="no id")


def test_a_node_without_an_instance_is_named_once_whatever_happens_to_it() -> None:
    index = NodeIndex()
    with structlog.testing.capture_logs() as lines:
        index.put(dataclasses.replace(UNMAPPED, cause=None))
        index.put(UNMAPPED)
        index.put(dataclasses.replace(UNMAPPED, resource_version="6"))
        index.replace([UNMAPPED, OLD])

    assert [(line["event"], line["node"]) for line in lines] == [("node_unmapped", "k3s")]
    assert index.unmapped == ("k3s",)
    assert len(index) == 1


def test_a_node_whose_instance_is_learnt_later_is_not_unmapped_any_more() -> None:
    index = _index(OLD)
    index.put(UNMAPPED)
    mapped = dataclasses.replace(NEW, name=NodeName("k3s"), uid="k3s")
    index.put(mapped)

    assert index.unmapped == ()
    assert index.nodes_of(stage.instance(1)) == (mapped,)


def test_an_unmapped_node_that_is_gone_is_not_counted() -> None:
    index = NodeIndex()
    index.put(UNMAPPED)
    index.remove("k3s")

    assert index.unmapped == ()


@pytest.mark.looptime
async def test_a_list_wakes_those_who_wait_for_a_node() -> None:
    index = NodeIndex()
    waiting = asyncio.create_task(index.until(stage.instance(0), lambda node: node is not None))
    await asyncio.sleep(1)
    index.replace([OLD])

    assert await waiting == OLD


@pytest.mark.looptime
async def test_nothing_is_kept_for_a_waiter_that_was_cancelled() -> None:
    index = NodeIndex()
    waiting = asyncio.create_task(index.until(stage.instance(0), lambda node: node is not None))
    await asyncio.sleep(1)
    waiting.cancel()
    await asyncio.wait((waiting,))

    assert not index._changes


class Cluster:
    """Nodes that come, change and go; a watch that delivers late; lists that take time."""

    def __init__(self, draw: st.DataObject) -> None:
        self._draw = draw.draw
        self._version = 0
        self.nodes: dict[str, NodeView] = {}
        self._undelivered: dict[str, list[NodeView | None]] = {}
        self.index = NodeIndex()

    def step(self) -> None:
        """Let one thing happen: to the cluster, or on the way to the index."""
        self._draw(st.sampled_from([self._create, self._change, self._delete, self._deliver]))()

    def list_slowly(self) -> None:
        """Replace the index by the nodes of one moment, while other things happen."""
        with self.index.journal() as changes:
            listed = tuple(self.nodes.values())
            for _ in range(self._draw(st.integers(0, 6))):
                self.step()
            self.index.replace(listed, changes=changes)

    def deliver_all(self) -> None:
        while self._undelivered:
            self._deliver()

    def _create(self) -> None:
        name = self._draw(st.sampled_from(["a", "b", "c"]))
        if name in self.nodes:
            return
        self._version += 1
        instance_id = stage.instance(self._draw(st.integers(0, 2)))
        node = dataclasses.replace(
            OLD,
            name=NodeName(name),
            uid=f"{name}-{self._version}",
            resource_version=str(self._version),
            instance_id=instance_id,
        )
        self._write(node)

    def _change(self) -> None:
        if self.nodes:
            node = self.nodes[self._draw(st.sampled_from(sorted(self.nodes)))]
            self._version += 1
            self._write(dataclasses.replace(node, resource_version=str(self._version)))

    def _delete(self) -> None:
        if self.nodes:
            node = self.nodes.pop(self._draw(st.sampled_from(sorted(self.nodes))))
            self._version += 1
            self._undelivered.setdefault(node.uid, []).append(None)

    def _write(self, node: NodeView) -> None:
        self.nodes[node.name] = node
        self._undelivered.setdefault(node.uid, []).append(node)

    def _deliver(self) -> None:
        """Deliver the next event of a node: of one they come in order, of several in any."""
        if not self._undelivered:
            return
        uid = self._draw(st.sampled_from(sorted(self._undelivered)))
        node = self._undelivered[uid].pop(0)
        if not self._undelivered[uid]:
            del self._undelivered[uid]
        if node is None:
            self.index.remove(uid)
        else:
            self.index.put(node)


@given(data=st.data())
def test_whatever_the_order_of_events_and_lists_the_index_ends_as_the_cluster(
    data: st.DataObject,
) -> None:
    cluster = Cluster(data)
    for _ in range(data.draw(st.integers(1, 12))):
        data.draw(st.sampled_from([cluster.step, cluster.step, cluster.list_slowly]))()
    cluster.deliver_all()

    ours = [node for number in range(3) for node in cluster.index.nodes_of(stage.instance(number))]
    assert sorted(ours, key=lambda node: node.name) == [
        cluster.nodes[name] for name in sorted(cluster.nodes)
    ]
