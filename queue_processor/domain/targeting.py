"""Which instances an event is sent about, by the nodes that there are; protected ones never."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

from queue_processor.domain import errors, selectors
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.selectors import LabelSelector

PROTECTED_LABEL = "queue-processor/protected"
PROTECTED = selectors.parse(PROTECTED_LABEL)

_Item = TypeVar("_Item")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person named: instances, nodes, or a selector of nodes.

    Attributes:
        selector: None where instances or nodes are named.
        count: How many of them; None means all.
    """

    instance_ids: tuple[InstanceId, ...] = ()
    node_names: tuple[NodeName, ...] = ()
    selector: LabelSelector | None = None
    count: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """The nodes of a cluster, by instance.

    Attributes:
        selected: The instances whose nodes the wanted selector selects.
        protected: Those whose nodes carry the label that protects them.
    """

    nodes: Mapping[InstanceId, NodeView]
    selected: frozenset[InstanceId]
    protected: frozenset[InstanceId]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The instances that are chosen, and the protected ones that a selector left out."""

    instance_ids: tuple[InstanceId, ...]
    left_out: tuple[InstanceId, ...] = ()


def choose(wanted: Wanted, roll: Roll) -> Choice:
    """Choose instances; of more than are wanted, ones that lie evenly among the nodes.

    Raises:
        UsageError: A named node is protected or does not exist, or there are too few.
    """
    if wanted.selector is None:
        named = (*wanted.instance_ids, *(_instance_of(name, roll) for name in wanted.node_names))
        return Choice(instance_ids=_enough(_unprotected(tuple(dict.fromkeys(named)), roll), wanted))
    by_name = sorted(roll.selected, key=lambda instance_id: roll.nodes[instance_id].name)
    return Choice(
        instance_ids=_enough([each for each in by_name if each not in roll.protected], wanted),
        left_out=tuple(each for each in by_name if each in roll.protected),
    )


def _enough(found: Sequence[InstanceId], wanted: Wanted) -> tuple[InstanceId, ...]:
    if not found:
        raise errors.UsageError(
            f"the selector selects no node that is on EC2 and without the label {PROTECTED_LABEL}"
        )
    if wanted.count is None:
        return tuple(found)
    if wanted.count > len(found):
        raise errors.UsageError(
            f"a storm about {wanted.count} nodes needs as many, and there are {len(found)}; those"
            f" with the label {PROTECTED_LABEL} do not count"
        )
    return tuple(evenly(found, wanted.count))


def evenly(items: Sequence[_Item], count: int) -> Sequence[_Item]:
    """So many of the items, in their order and as far from each other as there is room."""
    return [items[number * len(items) // count] for number in range(count)]


def _instance_of(name: NodeName, roll: Roll) -> InstanceId:
    for instance_id, node in roll.nodes.items():
        if node.name == name:
            return instance_id
    raise errors.UsageError(
        f"the cluster has no node {name} on an EC2 instance; check the name, and KUBECONFIG"
    )


def _unprotected(instance_ids: tuple[InstanceId, ...], roll: Roll) -> tuple[InstanceId, ...]:
    protected = [roll.nodes[each].name for each in instance_ids if each in roll.protected]
    if protected:
        raise errors.UsageError(
            f"{', '.join(protected)}: protected by the label {PROTECTED_LABEL}, so nothing is sent;"
            " name other nodes, or take the label off if an interruption there is fine"
        )
    return instance_ids
