"""The targets of a drill: at equal distances, and never a protected node."""

import itertools

import hypothesis
import pytest
from hypothesis import strategies

from queue_processor.domain import errors, selectors
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.nodes import NodeView
from queue_processor.messages.send import targets
from queue_processor.messages.send.targets import NodeInventory, TargetQuery

ANY = selectors.parse("kubernetes.io/hostname")


def instance(number: int) -> InstanceId:
    return InstanceId(f"i-{number:017x}")


def inventory_of(size: int, *, protected: frozenset[int] = frozenset()) -> NodeInventory:
    nodes = {
        instance(number): NodeView(
            name=NodeName(f"node-{number:03}"),
            uid=str(number),
            resource_version="1",
            instance_id=instance(number),
            is_ready=True,
            is_unschedulable=False,
            taints=(),
        )
        for number in range(size)
    }
    return NodeInventory(
        nodes=nodes,
        selected=frozenset(nodes),
        protected=frozenset(instance(number) for number in protected),
    )


@hypothesis.given(strategies.data())
def test_of_many_nodes_as_many_as_needed_are_targets_at_equal_distances(
    data: strategies.DataObject,
) -> None:
    size = data.draw(strategies.integers(1, 200))
    count = data.draw(strategies.integers(1, size))

    even = targets.evenly(range(size), count)

    assert len(set(even)) == count
    gaps = {after - before for before, after in itertools.pairwise(even)}
    assert gaps <= {size // count, size // count + 1}


@hypothesis.given(strategies.data())
def test_a_protected_node_is_never_a_target(data: strategies.DataObject) -> None:
    size = data.draw(strategies.integers(2, 40))
    protected = data.draw(strategies.frozensets(strategies.integers(0, size - 1)))
    inventory = inventory_of(size, protected=protected)
    count = data.draw(strategies.none() | strategies.integers(1, size))

    try:
        result = targets.choose(TargetQuery(selector=ANY, count=count), inventory)
    except errors.UsageError:
        assert size - len(protected) < (count or 1)
        return

    assert not inventory.protected & set(result.instance_ids)
    assert set(result.left_out) == inventory.protected
    assert len(result.instance_ids) == (size - len(protected) if count is None else count)


def test_nodes_of_a_selector_come_by_name() -> None:
    result = targets.choose(TargetQuery(selector=ANY), inventory_of(12))

    assert result.instance_ids == tuple(instance(number) for number in range(12))


def test_named_nodes_and_instances_keep_their_order() -> None:
    query = TargetQuery(node_names=(NodeName("node-003"), NodeName("node-001")))

    assert targets.choose(query, inventory_of(4)).instance_ids == (instance(3), instance(1))


def test_an_instance_without_a_node_may_be_named() -> None:
    query = TargetQuery(instance_ids=(instance(9),))

    assert targets.choose(query, inventory_of(4)).instance_ids == (instance(9),)


@pytest.mark.parametrize(
    "query",
    [
        TargetQuery(instance_ids=(instance(0), instance(1))),
        TargetQuery(node_names=(NodeName("node-000"), NodeName("node-001"))),
        TargetQuery(instance_ids=(instance(0), instance(1)), count=1),
    ],
)
def test_a_protected_one_among_the_named_refuses_all(query: TargetQuery) -> None:
    with pytest.raises(errors.UsageError, match="node-001: protected by the label"):
        targets.choose(query, inventory_of(4, protected=frozenset({1})))
