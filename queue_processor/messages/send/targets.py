"""The instances that a drill is about, and the pods that would move. Protected nodes never."""

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from queue_processor.domain import errors, identifiers, pods, selectors
from queue_processor.domain.aws_events import Event
from queue_processor.domain.events import EventKind
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.nodes import PROTECTED_LABEL, NodeView
from queue_processor.domain.plan import Action
from queue_processor.domain.pods import PodView
from queue_processor.domain.policy import Policy
from queue_processor.domain.selectors import LabelSelector
from queue_processor.messages import cluster, explanation
from queue_processor.messages.explanation import Explanation, MessageVerdict, NodeMatch
from queue_processor.settings import ToolSettings

_PROTECTED = selectors.parse(PROTECTED_LABEL)
# Every kubelet sets it on its node.
_LABEL_OF_EVERY_NODE = "kubernetes.io/hostname"
_ANY = LabelSelector()

_Item = TypeVar("_Item")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TargetQuery:
    """The nodes that a person named: by instance, by name, or by selector.

    Attributes:
        selector: None if instances or nodes are named.
        count: How many of them; None means all.
    """

    instance_ids: tuple[InstanceId, ...] = ()
    node_names: tuple[NodeName, ...] = ()
    selector: LabelSelector | None = None
    count: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeInventory:
    """The nodes of a cluster, by instance.

    Attributes:
        selected: The instances whose nodes the selector of the query selects.
        protected: Those whose nodes carry the label that protects them.
    """

    nodes: Mapping[InstanceId, NodeView]
    selected: frozenset[InstanceId]
    protected: frozenset[InstanceId]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """The instances to send events about, and the protected ones that a selector left out."""

    instance_ids: tuple[InstanceId, ...]
    left_out: tuple[InstanceId, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DrillTarget:
    """An instance to send an event about.

    Attributes:
        node: None if no node of the cluster runs on it.
        body: The event, as it would be if it happened now.
        explanation: What the operator would do with it.
        pods: The pods of the node, if it would be drained.
    """

    instance_id: InstanceId
    node: NodeView | None
    body: str
    explanation: Explanation
    pods: tuple[PodView, ...] = ()

    @property
    def name(self) -> str:
        """Return the node and the instance, for people."""
        return self.instance_id if self.node is None else f"{self.node.name} ({self.instance_id})"

    @property
    def is_drained(self) -> bool:
        """True if the operator would evict the pods of the node."""
        return (
            self.explanation.verdict is MessageVerdict.INTERRUPTION
            and self.explanation.action is Action.CORDON_AND_DRAIN
            and bool(self.explanation.node_names())
        )

    @property
    def moving(self) -> Sequence[PodView]:
        """Return the pods that a drain would evict."""
        return [pod for pod in self.pods if pods.verdict_on(pod).is_moved]

    @property
    def staying(self) -> Sequence[PodView]:
        """Return the pods that a drain would leave alone."""
        return [pod for pod in self.pods if not pods.verdict_on(pod).is_moved]

    def identity(self) -> dict[str, str | None]:
        """Return instance and node, for programs."""
        node = None if self.node is None else self.node.name
        return {"instance": self.instance_id, "node": node}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """Everything that a drill is about.

    Attributes:
        cluster_name: The cluster that was read, for people.
        left_out: Nodes that a selector selects and their label protects.
    """

    cluster_name: str
    targets: Sequence[DrillTarget]
    left_out: Sequence[NodeName] = ()


class DrillTemplate(Protocol):
    """The events of a drill, without the target of each."""

    @property
    def kind(self) -> EventKind:
        """The kind of all of them."""

    def explain(
        self, instance_id: InstanceId, *, now: dt.datetime, decisions: Policy
    ) -> tuple[str, Explanation]:
        """Return the event as it would be if it happened now, and what the operator would do."""

    def event_for(self, target: DrillTarget, *, now: dt.datetime) -> Event:
        """Return an event that happens now, to send.

        Raises:
            UsageError: The options lack what events of this kind need.
        """


def parse_query(
    instances: Sequence[str], nodes: Sequence[str], selector: str | None, count: int | None
) -> TargetQuery:
    """Return what the options of the command name.

    Raises:
        UsageError: They name the nodes in no way, in more than one, or not correctly.
    """
    if sum((bool(instances), bool(nodes), selector is not None)) != 1:
        raise errors.UsageError("name the nodes in one way: --instance, --node or --selector")
    if selector is not None:
        return TargetQuery(selector=_parse_selector(selector), count=count)
    return TargetQuery(
        instance_ids=tuple(_parse_instance_id(text) for text in instances),
        node_names=tuple(NodeName(name) for name in nodes),
        count=count,
    )


def _parse_selector(text: str) -> LabelSelector:
    if not text.strip():
        raise errors.UsageError(
            "the selector is empty; if every node is meant, write --selector"
            f" {_LABEL_OF_EVERY_NODE}"
        )
    try:
        return selectors.parse(text)
    except errors.ConfigurationError as error:
        raise errors.UsageError(str(error)) from error


def _parse_instance_id(text: str) -> InstanceId:
    instance_id = identifiers.parse_instance_id(text)
    if instance_id is None:
        raise errors.UsageError(f"{text!r} is not an instance id such as i-0123456789abcdef0")
    return instance_id


async def plan(
    query: TargetQuery, template: DrillTemplate, settings: ToolSettings, *, now: dt.datetime
) -> Drill:
    """Find the instances, and what would happen to their nodes and pods."""
    async with cluster.connect() as reader:
        every, (managed, protected, selected) = await reader.nodes(
            selectors.parse(settings.node_selector), _PROTECTED, query.selector or _ANY
        )
    inventory = NodeInventory(nodes=every, selected=selected, protected=protected)
    targets = choose(query, inventory)
    matches = await cluster.match_nodes(
        targets.instance_ids, every, managed=managed, settings=settings
    )
    drill_targets = [
        _target(each, matches, template=template, settings=settings, now=now)
        for each in targets.instance_ids
    ]
    return Drill(
        cluster_name=reader.cluster_name,
        targets=await _with_pods(drill_targets),
        left_out=[every[instance_id].name for instance_id in targets.left_out],
    )


async def protected_instances() -> frozenset[InstanceId]:
    """Return the instances whose nodes are protected now."""
    async with cluster.connect() as reader:
        _, (protected,) = await reader.nodes(_PROTECTED)
    return protected


def choose(query: TargetQuery, inventory: NodeInventory) -> Targets:
    """Choose instances: if there are more than the query wants, at equal distances.

    Raises:
        UsageError: A named node is protected or does not exist, or there are too few.
    """
    if query.selector is None:
        named = (
            *query.instance_ids,
            *(_instance_of(name, inventory) for name in query.node_names),
        )
        instance_ids = tuple(dict.fromkeys(named))
        _check_unprotected(instance_ids, inventory)
        return Targets(instance_ids=_limited(instance_ids, query))
    by_name = sorted(inventory.selected, key=lambda each: inventory.nodes[each].name)
    return Targets(
        instance_ids=_limited([each for each in by_name if each not in inventory.protected], query),
        left_out=tuple(each for each in by_name if each in inventory.protected),
    )


def _limited(instance_ids: Sequence[InstanceId], query: TargetQuery) -> tuple[InstanceId, ...]:
    if not instance_ids:
        raise errors.UsageError(
            f"the selector selects no node that is on EC2 and without the label {PROTECTED_LABEL}"
        )
    if query.count is None:
        return tuple(instance_ids)
    if query.count > len(instance_ids):
        raise errors.UsageError(
            f"a storm about {query.count} nodes needs as many, and there are {len(instance_ids)};"
            f" those with the label {PROTECTED_LABEL} do not count"
        )
    return tuple(evenly(instance_ids, query.count))


def evenly(items: Sequence[_Item], count: int) -> Sequence[_Item]:
    """Return `count` of the items, in their order and at equal distances."""
    return [items[number * len(items) // count] for number in range(count)]


def _instance_of(name: NodeName, inventory: NodeInventory) -> InstanceId:
    for instance_id, node in inventory.nodes.items():
        if node.name == name:
            return instance_id
    raise errors.UsageError(
        f"the cluster has no node {name} on an EC2 instance; check the name, and KUBECONFIG"
    )


def _check_unprotected(instance_ids: Sequence[InstanceId], inventory: NodeInventory) -> None:
    protected = [inventory.nodes[each].name for each in instance_ids if each in inventory.protected]
    if protected:
        raise errors.UsageError(
            f"{', '.join(protected)}: protected by the label {PROTECTED_LABEL}, so nothing is sent;"
            " name other nodes, or remove the label if an interruption there is fine"
        )


def _target(
    instance_id: InstanceId,
    matches: Mapping[InstanceId, NodeMatch],
    *,
    template: DrillTemplate,
    settings: ToolSettings,
    now: dt.datetime,
) -> DrillTarget:
    decisions = settings.policy()
    body, explained = template.explain(instance_id, now=now, decisions=decisions)
    return DrillTarget(
        instance_id=instance_id,
        node=matches[instance_id].node,
        body=body,
        explanation=explanation.with_nodes(explained, matches, decisions=decisions),
    )


async def _with_pods(targets: Sequence[DrillTarget]) -> Sequence[DrillTarget]:
    names = [each.node.name for each in targets if each.node is not None and each.is_drained]
    async with cluster.connect() as reader:
        by_node = await reader.pods(names)
    return [
        each
        if each.node is None
        else dataclasses.replace(each, pods=by_node.get(each.node.name, ()))
        for each in targets
    ]
