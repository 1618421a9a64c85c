"""Reads an installation: the settings, what they name in AWS, and the cluster. Changes nothing."""

import asyncio
import contextlib
import datetime as dt
import functools
import pathlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from queue_processor import settings as settings_module
from queue_processor.adapters.aws import autoscaling, identity
from queue_processor.adapters.aws.clients import ClientFactory, DaemonExecutor
from queue_processor.adapters.aws.event_rules import EventRule, EventRules
from queue_processor.adapters.aws.queue import QueueClient
from queue_processor.adapters.aws.queue_attributes import QueueState
from queue_processor.adapters.kube import connection as kube
from queue_processor.adapters.kube import leases, nodes, other_handlers, permissions
from queue_processor.adapters.kube.api import KubeApi, ServerVersion
from queue_processor.adapters.kube.leases import KubeLeases
from queue_processor.adapters.kube.nodes import NodeReader
from queue_processor.adapters.kube.other_handlers import OtherHandlerPod
from queue_processor.adapters.kube.permissions import Permission
from queue_processor.adapters.kube.pods import KubePods
from queue_processor.doctor import server_time
from queue_processor.doctor.findings import CheckName
from queue_processor.doctor.readings import (
    AwsClients,
    Caller,
    ClusterReading,
    GroupReading,
    NodesReading,
    QueueReading,
)
from queue_processor.doctor.server_time import ServerTime
from queue_processor.doctor.shared_reads import NotApplicable, SharedRead
from queue_processor.domain import errors, pods, selectors
from queue_processor.domain.leases import Lease
from queue_processor.domain.nodes import NodeView, UnmappedNode
from queue_processor.retrying import answering_within, retrying
from queue_processor.settings import Settings

# Longer than the SDK tries: its own error says more.
_AWS_SECONDS = 45.0
# A credential plugin of a kubeconfig may ask a person to log in.
_CONNECT_SECONDS = 30.0
_ATTEMPTS = 3
_THREADS = 8
# Karpenter puts it on its nodes: https://karpenter.sh/docs/concepts/scheduling/#well-known-labels
_KARPENTER_LABEL = "karpenter.sh/nodepool"

_Answer = TypeVar("_Answer")


class Installation:
    """The installation that a settings file and the environment name.

    Its attributes read the parts that several checks need; its methods read those that one needs.
    """

    def __init__(
        self,
        config: pathlib.Path | None,
        *,
        clock: Callable[[], dt.datetime],
        stack: contextlib.AsyncExitStack,
    ) -> None:
        """Read nothing yet.

        Args:
            config: The settings file; None as in `settings.load`.
            clock: Our clock, to compare with those of others.
            stack: Closes the connections at its end.
        """
        self._config = config
        self.clock = clock
        self._stack = stack
        self._threads = DaemonExecutor(_THREADS, name="aws")
        self.settings = SharedRead(CheckName.SETTINGS, self._load_settings)
        self.aws = SharedRead(CheckName.AWS_CREDENTIALS, self._open_aws)
        self.caller = SharedRead(CheckName.AWS_CREDENTIALS, self._read_caller)
        self.queue = SharedRead(CheckName.QUEUE, self._read_queue)
        self.rules = SharedRead(CheckName.EVENT_RULES, self._read_rules)
        self.groups = SharedRead(CheckName.LIFECYCLE_HOOKS, self._read_groups)
        self.cluster = SharedRead(CheckName.API_SERVER, self._connect)
        self.nodes = SharedRead(CheckName.NODES, self._read_nodes)

    async def _load_settings(self) -> Settings:
        return settings_module.load(self._config)

    # AWS.

    async def _open_aws(self) -> AwsClients:
        settings = await self.settings()
        if settings.queue_url is None and settings.managed_tag is None:
            raise NotApplicable("these settings need nothing from AWS")
        return await self._call(functools.partial(_open_clients, settings.queue_url))

    async def _read_caller(self) -> Caller | errors.TemporaryError:
        """Return the caller, or why STS does not answer: a cluster may have no way there.

        The operator needs none, unless STS provides its credentials.
        """
        aws = await self.aws()
        sent_at = self.clock()
        try:
            caller = await self._call(lambda: identity.caller_identity(aws.sts))
        except errors.TemporaryError as error:
            return error
        return Caller(identity=caller, time=self._time_of("AWS", caller.date, sent_at))

    async def _read_queue(self) -> QueueReading:
        queue_url = (await self.settings()).queue_url
        if queue_url is None:
            raise NotApplicable("no queue_url is set: all events are notices on Nodes")
        # Credentials that AWS refuses are reported once.
        await self.caller()
        client = QueueClient((await self.aws()).sqs, queue_url)
        return QueueReading(
            client=client,
            state=await self._call(client.usable_state),
            configuration=await self._call(client.configuration),
        )

    async def dead_letters(self, arn: str) -> QueueState:
        """Read the dead-letter queue.

        Raises:
            ConfigurationError: It does not exist.
            Forbidden: The permission is missing.
        """
        client = (await self.queue()).client.beside(arn)
        try:
            return await self._call(client.state)
        except errors.UsageError as error:
            raise errors.ConfigurationError(
                f"the redrive policy names {client.name}, which does not exist",
                cure="create it, or name another queue in the redrive policy",
            ) from error

    async def _read_rules(self) -> Sequence[EventRule]:
        arn, aws = (await self.queue()).state.arn, await self.aws()
        return await self._call(lambda: aws.rules.with_target(arn))

    async def matches_any(self, rules: Sequence[EventRule], event: Mapping[str, object]) -> bool:
        """Return True if the pattern of a rule matches an event; raises Forbidden."""
        aws = await self.aws()
        return await self._call(lambda: any(aws.rules.matches(rule, event) for rule in rules))

    async def _read_groups(self) -> Sequence[GroupReading]:
        # The operator does nothing about groups without a queue.
        await self.queue()
        node_names = {node.instance_id: node.name for node in (await self.nodes()).mapped}
        client = (await self.aws()).autoscaling
        ours = [
            (group.name, {node_names[each] for each in group.instance_ids & node_names.keys()})
            for group in await self._call(lambda: autoscaling.all_groups(client))
            if group.instance_ids & node_names.keys()
        ]
        if not ours:
            return ()
        every = {name for _, names in ours for name in names}
        pods_on = await self._ask(lambda api: KubePods(api).on_nodes(every))
        return [
            GroupReading(
                name=name,
                hooks=await self._call(functools.partial(autoscaling.hooks_of, client, name)),
                slowest=pods.slowest(pod for each in names for pod in pods_on[each].pods),
            )
            for name, names in ours
        ]

    async def _call(self, function: Callable[[], _Answer]) -> _Answer:
        async with answering_within(_AWS_SECONDS, "AWS"):
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    # The cluster.

    async def _connect(self) -> ClusterReading:
        async with answering_within(_CONNECT_SECONDS, "what the kubeconfig names"):
            connection = await kube.connect()
        self._stack.push_async_callback(connection.close)
        api = KubeApi(connection.transport)
        sent_at = self.clock()
        try:
            server: ServerVersion = await retrying(attempts=_ATTEMPTS)(api.version)
        except errors.QueueProcessorError as error:
            raise errors.ConfigurationError(
                f"{error} ({connection.origin})",
                cure="check that KUBECONFIG names a cluster that can be reached, and that its"
                " credentials are valid: `kubectl version` has to work",
            ) from error
        return ClusterReading(
            api=api,
            name=connection.name,
            version=server.version,
            time=self._time_of("the API server", server.date, sent_at),
        )

    async def _read_nodes(self) -> NodesReading:
        reader = NodeReader(selectors.parse((await self.settings()).node_selector))
        return await self._ask(lambda api: _list_nodes(api, reader))

    async def permissions(self) -> tuple[Sequence[Permission], Sequence[Permission]]:
        """Return the permissions that the operator needs, and those that the account lacks."""
        settings = await self.settings()
        needed = permissions.needed_by(settings, own_namespace=kube.own_namespace())
        lease_name = settings.leader_election.lease_name
        return needed, await self._ask(
            lambda api: permissions.missing(api, needed, lease_name=lease_name)
        )

    async def leases(self) -> Mapping[str, Lease]:
        """Return the Leases of operators by namespace; only our own where others are forbidden.

        Raises:
            Forbidden: Others are, and nothing shows which namespace is ours.
        """
        election, own_namespace = (await self.settings()).leader_election, kube.own_namespace()
        name, namespace = election.lease_name, election.lease_namespace(own_namespace)
        try:
            return await self._ask(lambda api: leases.in_all_namespaces(api, name))
        except errors.Forbidden:
            if election.namespace is None and own_namespace is None:
                raise
            lease = await self._ask(
                lambda api: KubeLeases(api, namespace=namespace, name=name).read()
            )
            return {} if lease is None else {namespace: lease}

    async def other_handlers(self) -> Sequence[OtherHandlerPod]:
        """Return the pods of programs that handle the same interruptions."""
        return await self._ask(other_handlers.other_handler_pods)

    async def _ask(self, read: Callable[[KubeApi], Awaitable[_Answer]]) -> _Answer:
        """Read from the API server, which is asked again if it does not answer."""
        api = (await self.cluster()).api

        async def read_once() -> _Answer:
            return await read(api)

        return await retrying(attempts=_ATTEMPTS)(read_once)

    def _time_of(self, server: str, header: str, sent_at: dt.datetime) -> ServerTime | None:
        date = server_time.parse_date(header)
        if date is None:
            return None
        return ServerTime(server=server, date=date, sent_at=sent_at, received_at=self.clock())


async def _list_nodes(api: KubeApi, reader: NodeReader) -> NodesReading:
    mapped: list[NodeView] = []
    unmapped: list[UnmappedNode] = []
    of_karpenter = 0
    async for node in nodes.listed(api):
        match reader.read(node):
            case NodeView() as view:
                mapped.append(view)
                of_karpenter += _KARPENTER_LABEL in (node["metadata"].get("labels") or {})
            # One without a cause is about to be initialized.
            case UnmappedNode(cause=str()) as view:
                unmapped.append(view)
            case _:
                pass
    return NodesReading(mapped=mapped, unmapped=unmapped, of_karpenter=of_karpenter)


def _open_clients(queue_url: str | None) -> AwsClients:
    """Fetch the credentials and build the clients, which a session must do one by one."""
    factory = ClientFactory(queue_url=queue_url)
    factory.fetch_credentials()
    return AwsClients(
        region=factory.region,
        sts=factory.sts(),
        sqs=factory.sqs(queue_url=queue_url, wait_time_seconds=0),
        rules=EventRules(factory.events()),
        autoscaling=factory.autoscaling(),
    )
