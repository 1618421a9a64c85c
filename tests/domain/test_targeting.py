"""Which instances are chosen: evenly, and never a protected one."""

import itertools

import hypothesis
import pytest
from hypothesis import strategies

from queue_processor.domain import errors, selectors, targeting
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.targeting import Roll, Wanted

ANY = selectors.parse("kubernetes.io/hostname")


def instance(number: int) -> InstanceId:
    return InstanceId(f"i-{number:017x}")


def roll_of(size: int, *, protected: frozenset[int] = frozenset()) -> Roll:
    nodes = {
        instance(number): NodeView(
            name=NodeName(f"node-{number:03}"),
            uid=str(number),
            resource_version="1",
            instance_id=instance(number),
            is_ready=True,
            is_unschedulable=False,
            taints=(),
            annotations={},
        )
        for number in range(size)
    }
    return Roll(
        nodes=nodes,
        selected=frozenset(nodes),
        protected=frozenset(instance(number) for number in protected),
    )


@hypothesis.given(strategies.data())
def test_of_many_as_many_as_wanted_are_chosen_at_equal_distances(
    data: strategies.DataObject,
) -> None:
    size = data.draw(strategies.integers(1, 200))
    count = data.draw(strategies.integers(1, size))

    chosen = targeting.evenly(range(size), count)

    assert len(set(chosen)) == count
    gaps = {after - before for before, after in itertools.pairwise(chosen)}
    assert gaps <= {size // count, size // count + 1}


@hypothesis.given(strategies.data())
def test_a_protected_node_is_never_chosen(data: strategies.DataObject) -> None:
    size = data.draw(strategies.integers(2, 40))
    protected = data.draw(strategies.frozensets(strategies.integers(0, size - 1)))
    roll = roll_of(size, protected=protected)
    count = data.draw(strategies.none() | strategies.integers(1, size))

    try:
        choice = targeting.choose(Wanted(selector=ANY, count=count), roll)
    except errors.UsageError:
        assert size - len(protected) < (count or 1)
        return

    assert not roll.protected & set(choice.instance_ids)
    assert set(choice.left_out) == roll.protected
    assert len(choice.instance_ids) == (size - len(protected) if count is None else count)


def test_nodes_of_a_selector_come_by_name() -> None:
    choice = targeting.choose(Wanted(selector=ANY), roll_of(12))

    assert choice.instance_ids == tuple(instance(number) for number in range(12))


def test_named_nodes_and_instances_keep_their_order() -> None:
    wanted = Wanted(node_names=(NodeName("node-003"), NodeName("node-001")))

    assert targeting.choose(wanted, roll_of(4)).instance_ids == (instance(3), instance(1))


def test_an_instance_without_a_node_may_be_named() -> None:
    wanted = Wanted(instance_ids=(instance(9),))

    assert targeting.choose(wanted, roll_of(4)).instance_ids == (instance(9),)


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(instance_ids=(instance(0), instance(1))),
        Wanted(node_names=(NodeName("node-000"), NodeName("node-001"))),
        Wanted(instance_ids=(instance(0), instance(1)), count=1),
    ],
)
def test_a_protected_one_among_the_named_refuses_all(wanted: Wanted) -> None:
    with pytest.raises(errors.UsageError, match="node-001: protected by the label"):
        targeting.choose(wanted, roll_of(4, protected=frozenset({1})))
