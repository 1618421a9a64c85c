"""What people's commands ask of the cluster; they change nothing in it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from queue_processor.adapters.aws import clients
from queue_processor.adapters.aws.clients import DaemonExecutor
from queue_processor.adapters.aws.ec2 import TaggedInstances
from queue_processor.adapters.kube import connection as kube
from queue_processor.adapters.kube import nodes
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.leases import KubeLeases
from queue_processor.adapters.kube.nodes import NodeReader
from queue_processor.adapters.kube.pods import KubePods
from queue_processor.domain import errors, explanation, selectors
from queue_processor.domain.explanation import Explanation, Obstacle, Sighting
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.leases import Lease
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.pods import PodView
from queue_processor.domain.selectors import LabelSelector
from queue_processor.settings import ToolSettings

OFFLINE = "; --offline does without the cluster"
_EVERY_NODE = LabelSelector()
_AT_A_TIME = 16


class Cluster:
    """Reads nodes and their pods."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def nodes(
        self, *selectors: LabelSelector
    ) -> tuple[Mapping[InstanceId, NodeView], Sequence[frozenset[InstanceId]]]:
        """All nodes on EC2, by instance, and for each selector the instances of its nodes."""
        anyone, choosers = NodeReader(_EVERY_NODE), [NodeReader(each) for each in selectors]
        every: dict[InstanceId, NodeView] = {}
        selected: Sequence[set[InstanceId]] = [set() for _ in selectors]
        async for node in nodes.listed(self._api):
            view = anyone.view_of(node)
            if view is None:
                continue
            every[view.instance_id] = view
            for chooser, chosen in zip(choosers, selected, strict=True):
                if chooser.view_of(node) is not None:
                    chosen.add(view.instance_id)
        return every, [frozenset(chosen) for chosen in selected]

    async def pods(self, names: Sequence[NodeName]) -> Mapping[NodeName, tuple[PodView, ...]]:
        """The pods of nodes, by node."""
        reader = KubePods(self._api)
        found: dict[NodeName, tuple[PodView, ...]] = {}
        for start in range(0, len(names), _AT_A_TIME):
            some = names[start : start + _AT_A_TIME]
            lists = await asyncio.gather(*(reader.on_node(name) for name in some))
            found |= {name: each.pods for name, each in zip(some, lists, strict=True)}
        return found

    async def lease(self, namespace: str, name: str) -> Lease | None:
        """A Lease; None where there is none."""
        return await KubeLeases(self._api, namespace=namespace, name=name).read()


@contextlib.asynccontextmanager
async def opened(*, cure: str = "") -> AsyncIterator[Cluster]:
    """Reach the cluster that the environment names.

    Args:
        cure: What can be done without a cluster, to be told when there is none.

    Raises:
        ConfigurationError: There is none, it cannot be reached, or it refuses us.
    """
    with _told_with(cure):
        connection = await kube.connect()
        try:
            yield Cluster(KubeApi(connection.transport))
        finally:
            await connection.close()


@contextlib.contextmanager
def _told_with(cure: str) -> Iterator[None]:
    try:
        yield
    except errors.ConfigurationError as error:
        raise errors.ConfigurationError(f"{error}{cure}") from error
    except (
        errors.TemporaryError,
        errors.PermanentError,
        errors.NotFound,
        errors.WatchExpired,
    ) as error:
        raise errors.ConfigurationError(
            f"Kubernetes: {error}; check that KUBECONFIG names a cluster that can be reached, and"
            f" what the account may do there{cure}"
        ) from error


async def lease(settings: ToolSettings) -> Lease | None:
    """The Lease that decides which operator works; None where there is none.

    Raises:
        ConfigurationError: The cluster does not answer.
    """
    chosen = settings.leader_election
    async with opened() as cluster:
        return await cluster.lease(chosen.lease_namespace(kube.own_namespace()), chosen.lease_name)


async def locate(known: Explanation, settings: ToolSettings) -> Explanation:
    """Add to an explanation on which nodes its instances run.

    Raises:
        ConfigurationError: The cluster, or EC2 where a tag decides, does not answer.
    """
    if known.event is None or known.verdict is not explanation.Verdict.INTERRUPTION:
        return known
    instance_ids = known.event.instance_ids
    async with opened(cure=OFFLINE) as cluster:
        every, (ours,) = await cluster.nodes(selectors.parse(settings.node_selector))
    seen = await sightings(instance_ids, every, ours=ours, settings=settings)
    return explanation.located(known, seen, decisions=settings.policy())


async def sightings(
    instance_ids: Sequence[InstanceId],
    every: Mapping[InstanceId, NodeView],
    *,
    ours: frozenset[InstanceId],
    settings: ToolSettings,
) -> Mapping[InstanceId, Sighting]:
    """Which nodes run on some instances, and which of them are not the operator's to drain.

    Raises:
        ConfigurationError: EC2, where a tag decides, does not answer.
    """
    tagged = await _tagged(instance_ids, settings.managed_tag)
    return {
        instance_id: _sighting(instance_id, every, ours=ours, tagged=tagged)
        for instance_id in instance_ids
    }


def _sighting(
    instance_id: InstanceId,
    every: Mapping[InstanceId, NodeView],
    *,
    ours: frozenset[InstanceId],
    tagged: frozenset[InstanceId],
) -> Sighting:
    node = every.get(instance_id)
    obstacle = None
    if node is None:
        obstacle = Obstacle.NO_NODE
    elif instance_id not in ours:
        obstacle = Obstacle.NOT_SELECTED
    elif instance_id not in tagged:
        obstacle = Obstacle.NOT_TAGGED
    return Sighting(node=node, obstacle=obstacle)


async def _tagged(instance_ids: Sequence[InstanceId], tag_key: str | None) -> frozenset[InstanceId]:
    """Those of the instances that carry the tag; all of them where no tag is asked for."""
    if tag_key is None:
        return frozenset(instance_ids)
    client = clients.create(wait_time_seconds=0, with_ec2=True).ec2
    assert client is not None  # noqa: S101 - it was asked for
    managed = TaggedInstances(client, tag_key=tag_key, threads=DaemonExecutor(1, name="aws"))
    answers = await asyncio.gather(*(managed.is_managed(each) for each in instance_ids))
    return frozenset(each for each, is_ours in zip(instance_ids, answers, strict=True) if is_ours)
