"""What a drill is about: the events, the nodes that they name, the pods that would move."""

import dataclasses
import datetime as dt
import json
import uuid
from collections.abc import Mapping, Sequence

from queue_processor.domain import event_builder, explanation, pods, selectors, targeting
from queue_processor.domain.aws_events import Event, Origin
from queue_processor.domain.event_builder import EventOptions
from queue_processor.domain.events import EventKind
from queue_processor.domain.explanation import Explanation, Verdict
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.plan import Action
from queue_processor.domain.pods import PodView
from queue_processor.domain.selectors import LabelSelector
from queue_processor.domain.targeting import Roll, Wanted
from queue_processor.maintenance import cluster
from queue_processor.settings import ToolSettings

_ANY = LabelSelector()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EventDraft:
    """The events of a drill, but for the instance of each.

    Attributes:
        queue_arn: The events arise where this queue is.
    """

    kind: EventKind
    particulars: EventOptions
    queue_arn: str

    def event_about(self, instance_id: InstanceId, *, now: dt.datetime) -> Event:
        """An event that happens now, with an id of its own.

        Raises:
            UsageError: The particulars lack what events of this kind say.
        """
        _, partition, _, region, account, _ = self.queue_arn.split(":", 5)
        origin = Origin(
            # As AWS prints it: in whole seconds.
            time=now.replace(microsecond=0),
            event_id=str(uuid.uuid4()),
            region=region,
            account=account,
            partition=partition,
        )
        return event_builder.build_event(self.kind, instance_id, self.particulars, origin=origin)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An instance that an event would be about.

    Attributes:
        node: None where no node of the cluster runs on it.
        body: The event, as it would be if it happened now.
        known: What the operator would make of it.
        pods: Those of the node, where it would be drained.
    """

    instance_id: InstanceId
    node: NodeView | None
    body: str
    known: Explanation
    pods: tuple[PodView, ...] = ()

    @property
    def name(self) -> str:
        """The node and the instance, for people."""
        return self.instance_id if self.node is None else f"{self.node.name} ({self.instance_id})"

    @property
    def is_drained(self) -> bool:
        """Whether the operator would evict the pods of the node."""
        known = self.known
        return (
            known.verdict is Verdict.INTERRUPTION
            and known.action is Action.CORDON_AND_DRAIN
            and bool(known.node_names())
        )

    @property
    def moving(self) -> Sequence[PodView]:
        """The pods that the drain would move."""
        return [pod for pod in self.pods if pods.verdict_on(pod).is_moved]

    @property
    def staying(self) -> Sequence[PodView]:
        """The pods that it would leave alone."""
        return [pod for pod in self.pods if not pods.verdict_on(pod).is_moved]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The instances that a drill is about.

    Attributes:
        left_out: Nodes that a selector selects and their label protects.
    """

    targets: Sequence[Target]
    left_out: Sequence[NodeName] = ()


async def look(
    wanted: Wanted, draft: EventDraft, settings: ToolSettings, *, now: dt.datetime
) -> Selection:
    """Find the instances, and what would become of their nodes and pods.

    Raises:
        ConfigurationError: The cluster, or EC2 where a tag decides, does not answer.
        UsageError: A named node is protected, or what is wanted is not there.
    """
    async with cluster.opened() as kube:
        every, (ours, protected, selected) = await kube.nodes(
            selectors.parse(settings.node_selector),
            targeting.PROTECTED,
            wanted.selector or _ANY,
        )
    roll = Roll(nodes=every, selected=selected, protected=protected)
    choice = targeting.choose(wanted, roll)
    seen = await cluster.sightings(choice.instance_ids, every, ours=ours, settings=settings)
    targets = [
        _target(instance_id, seen, draft=draft, settings=settings, now=now)
        for instance_id in choice.instance_ids
    ]
    return Selection(
        targets=await _with_pods(targets),
        left_out=[every[instance_id].name for instance_id in choice.left_out],
    )


async def _with_pods(targets: Sequence[Target]) -> Sequence[Target]:
    names = [each.node.name for each in targets if each.node is not None and each.is_drained]
    async with cluster.opened() as kube:
        found = await kube.pods(names)
    return [
        each if each.node is None else dataclasses.replace(each, pods=found.get(each.node.name, ()))
        for each in targets
    ]


def _target(
    instance_id: InstanceId,
    seen: Mapping[InstanceId, explanation.Sighting],
    *,
    draft: EventDraft,
    settings: ToolSettings,
    now: dt.datetime,
) -> Target:
    body = json.dumps(draft.event_about(instance_id, now=now))
    decisions = settings.policy()
    known = explanation.explain(body, message_id=None, sent_at=now, now=now, decisions=decisions)
    return Target(
        instance_id=instance_id,
        node=seen[instance_id].node,
        body=body,
        known=explanation.located(known, seen, decisions=decisions),
    )


async def protected() -> frozenset[InstanceId]:
    """The instances whose nodes are protected now.

    Raises:
        ConfigurationError: The cluster does not answer.
    """
    async with cluster.opened() as kube:
        _, (found,) = await kube.nodes(targeting.PROTECTED)
    return found
