"""Reads nodes, pods and the operator's Lease for the queue tools. Nothing is changed there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

from queue_processor.adapters.aws import clients
from queue_processor.adapters.aws.clients import DaemonExecutor
from queue_processor.adapters.aws.ec2 import TaggedInstances
from queue_processor.adapters.kube import connection as kube
from queue_processor.adapters.kube import nodes
from queue_processor.adapters.kube.leases import KubeLeases
from queue_processor.adapters.kube.nodes import NodeReader
from queue_processor.adapters.kube.pods import KubePods
from queue_processor.domain import selectors
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.leases import Lease
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.pods import PodView
from queue_processor.domain.selectors import LabelSelector
from queue_processor.messages import connection, explanation
from queue_processor.messages.connection import OpenCluster
from queue_processor.messages.explanation import (
    ExclusionReason,
    Explanation,
    MessageVerdict,
    NodeMatch,
)
from queue_processor.settings import ToolSettings

_OFFLINE_HINT = "; --offline does without the cluster"
_EVERY_NODE = LabelSelector()
_LISTS_AT_ONCE = 16


class ClusterReader:
    """Reads nodes and their pods.

    Attributes:
        cluster_name: As `OpenCluster` has it.
    """

    def __init__(self, opened: OpenCluster) -> None:
        self._api = opened.api
        self.cluster_name = opened.name

    async def nodes(
        self, *selectors: LabelSelector
    ) -> tuple[Mapping[InstanceId, NodeView], Sequence[frozenset[InstanceId]]]:
        """Return all nodes on EC2 by instance, and for each selector the instances it selects."""
        reader, matchers = NodeReader(_EVERY_NODE), [NodeReader(each) for each in selectors]
        every: dict[InstanceId, NodeView] = {}
        selected: Sequence[set[InstanceId]] = [set() for _ in selectors]
        async for node in nodes.listed(self._api):
            view = reader.view_of(node)
            if view is None:
                continue
            every[view.instance_id] = view
            for matcher, instance_ids in zip(matchers, selected, strict=True):
                if matcher.view_of(node) is not None:
                    instance_ids.add(view.instance_id)
        return every, [frozenset(instance_ids) for instance_ids in selected]

    async def pods(self, names: Sequence[NodeName]) -> Mapping[NodeName, tuple[PodView, ...]]:
        """Return the pods of nodes, by node."""
        reader = KubePods(self._api)
        pods: dict[NodeName, tuple[PodView, ...]] = {}
        for start in range(0, len(names), _LISTS_AT_ONCE):
            some = names[start : start + _LISTS_AT_ONCE]
            lists = await asyncio.gather(*(reader.on_node(name) for name in some))
            pods |= {name: each.pods for name, each in zip(some, lists, strict=True)}
        return pods

    async def lease(self, namespace: str, name: str) -> Lease | None:
        """Return a Lease; None if it does not exist."""
        return await KubeLeases(self._api, namespace=namespace, name=name).read()


@contextlib.asynccontextmanager
async def connect(*, hint: str = "") -> AsyncIterator[ClusterReader]:
    """Connect to the cluster that the environment names, as `connection.open_cluster` does."""
    async with connection.open_cluster(hint=hint) as opened:
        yield ClusterReader(opened)


async def read_lease(settings: ToolSettings) -> Lease | None:
    """Return the Lease of the operator's leader election; None if it does not exist."""
    election = settings.leader_election
    async with connect() as reader:
        return await reader.lease(
            election.lease_namespace(kube.own_namespace()), election.lease_name
        )


async def locate(explained: Explanation, settings: ToolSettings) -> Explanation:
    """Add to an explanation on which nodes its instances run."""
    event = explained.event
    if event is None or explained.verdict is not MessageVerdict.INTERRUPTION:
        return explained
    async with connect(hint=_OFFLINE_HINT) as reader:
        every, (managed,) = await reader.nodes(selectors.parse(settings.node_selector))
    matches = await match_nodes(event.instance_ids, every, managed=managed, settings=settings)
    return explanation.with_nodes(explained, matches, decisions=settings.policy())


async def match_nodes(
    instance_ids: Sequence[InstanceId],
    every: Mapping[InstanceId, NodeView],
    *,
    managed: frozenset[InstanceId],
    settings: ToolSettings,
) -> Mapping[InstanceId, NodeMatch]:
    """Return the node of each instance, and why the operator would not drain it.

    Args:
        instance_ids: The instances.
        every: The nodes of the cluster.
        managed: The instances whose nodes the setting node_selector selects.
        settings: The operator's settings. With a managed tag, EC2 is called.
    """
    tagged = await _tagged(instance_ids, settings)
    matches = {}
    for instance_id in instance_ids:
        excluded = None
        if instance_id not in every:
            excluded = ExclusionReason.NO_NODE
        elif instance_id not in managed:
            excluded = ExclusionReason.NOT_SELECTED
        elif instance_id not in tagged:
            excluded = ExclusionReason.NOT_TAGGED
        matches[instance_id] = NodeMatch(node=every.get(instance_id), excluded=excluded)
    return matches


async def _tagged(
    instance_ids: Sequence[InstanceId], settings: ToolSettings
) -> frozenset[InstanceId]:
    """Return the instances that carry the managed tag; all of them without such a setting."""
    if settings.managed_tag is None:
        return frozenset(instance_ids)
    client = clients.ClientFactory(queue_url=settings.queue_url).ec2()
    tags = TaggedInstances(
        client, tag_key=settings.managed_tag, threads=DaemonExecutor(1, name="aws")
    )
    answers = await asyncio.gather(*(tags.is_managed(each) for each in instance_ids))
    return frozenset(each for each, is_ours in zip(instance_ids, answers, strict=True) if is_ours)
