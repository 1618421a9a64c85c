"""The composition root: builds everything, wires it, runs it, re-raises what ended it."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import gc
import os
import signal
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING

import structlog

from queue_processor import retrying
from queue_processor.adapters.kube import connection as kube
from queue_processor.adapters.kube import permissions, tls_buffers
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.event_recorder import KubeEventRecorder
from queue_processor.adapters.kube.guarded_pods import KubeGuardedPods
from queue_processor.adapters.kube.leases import KubeLeases
from queue_processor.adapters.kube.nodes import KubeNodes, NodeReader
from queue_processor.adapters.kube.pods import KubePods
from queue_processor.adapters.kube.volumes import KubeVolumes
from queue_processor.adapters.webhooks import delivery
from queue_processor.adapters.webhooks.delivery import Webhooks
from queue_processor.controller import assembly, ports
from queue_processor.controller.lifecycle import NoLifecycleActions
from queue_processor.controller.node_index import NodeIndex
from queue_processor.controller.node_refresh import NodeRefresh
from queue_processor.domain import errors, leases, selectors
from queue_processor.domain.policy import Mode
from queue_processor.node_watch import NodeWatch
from queue_processor.observability import health, tracing
from queue_processor.settings import Settings, SettingsError

if TYPE_CHECKING:
    from queue_processor.adapters.aws.services import Aws

_log = structlog.get_logger(__name__)

# Most of it is for ourselves: the SDK and its clients take up to two seconds of CPU time, which are
# twenty with a limit of 100m.
_AWS_START_SECONDS = 30.0
_KUBE_START_SECONDS = 6.0
_FLUSH_LIMIT_SECONDS = 1.0
# More than two pages of a list; 20 of these are a storm of 1,000 nodes.
_NEW_OBJECTS, _YOUNG_COLLECTIONS = 50_000, 20


def utc_now() -> dt.datetime:
    """Return the present."""
    return dt.datetime.now(dt.UTC)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Kube:
    connection: kube.Connection
    api: KubeApi
    reader: NodeReader
    nodes: KubeNodes
    pods: KubePods
    event_recorder: KubeEventRecorder
    identity: str
    own_namespace: str | None


def check(settings: Settings) -> None:
    """See that what the settings name can be used, before anything starts.

    Raises:
        SettingsError: Some of it cannot; one line for each, which starts with the setting.
    """
    try:
        delivery.from_settings(settings.webhooks)
    except errors.ConfigurationError as error:
        raise SettingsError(str(error)) from error


async def run(settings: Settings) -> None:
    """Run the operator until a signal stops it.

    Raises:
        ConfigurationError: It cannot start like this: no Region or credentials, no API
            server, a queue that does not exist or refuses us, a port that is taken.
    """
    tls_buffers.limit()
    liveness = health.Liveness()
    webhooks = delivery.from_settings(settings.webhooks)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(tracing.exporting())
        await stack.enter_async_context(
            health.serving(settings.http.host, settings.http.port, liveness=liveness)
        )
        node_index = NodeIndex(on_news=liveness.node_news)
        async with retrying.answering_within(_AWS_START_SECONDS, "AWS"):
            aws = await _open_aws(settings)
        async with retrying.answering_within(_KUBE_START_SECONDS, "the Kubernetes API server"):
            cluster = await stack.enter_async_context(_open_kube(settings))
            await _check_permissions(settings, cluster)
        # The server answers; how long the list takes depends on the number of nodes.
        node_refresh = NodeRefresh(node_index, cluster.nodes.all)
        await _fill(node_index, node_refresh)
        _leave_the_start_behind()
        if settings.mode is Mode.OBSERVE:
            _log.info("observing", note="nothing is changed in the cluster or in Auto Scaling")
        lead = assembly.build_controller(
            settings,
            _dependencies(settings, aws, cluster, webhooks),
            node_index=node_index,
            node_refresh=node_refresh,
            liveness=liveness,
            clock=utc_now,
        )
        node_watch = NodeWatch(
            cluster.connection,
            reader=cluster.reader,
            node_index=node_index,
            node_refresh=node_refresh,
            identity=cluster.identity,
        )
        operator = Operator(lead=lead, cluster=cluster, aws=aws, webhooks=webhooks)
        await operator.run(
            node_watch=node_watch.run(on_start=operator.take_signals),
            node_silence=node_watch.refresh_when_silent(liveness),
            node_refresh=node_refresh.run(),
        )


def _leave_the_start_behind() -> None:
    """Free what only the start needed, and keep the garbage collector from what stays.

    The SDK's list of all endpoints takes 7 MiB and refers to itself, so it stays until a full
    collection. Later ones need not visit the modules, which live as long as the process.

    By default a collection follows every 700 new objects, and a page of pods has some 20,000. In a
    storm of 200 nodes, collections took a sixth of our CPU time. What we drop is freed by its
    reference count; only cycles wait.

    https://docs.python.org/3/library/gc.html#gc.freeze
    https://docs.python.org/3/library/gc.html#gc.set_threshold
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _YOUNG_COLLECTIONS)


async def _open_aws(settings: Settings) -> "Aws | None":
    """Open the AWS services; None if the settings need none."""
    if settings.queue_url is None and settings.managed_tag is None:
        return None
    # The SDK takes 46 MiB.
    from queue_processor.adapters.aws import services  # noqa: PLC0415

    return await services.open_aws(settings, clock=utc_now)


@contextlib.asynccontextmanager
async def _open_kube(settings: Settings) -> AsyncIterator[_Kube]:
    reader = NodeReader(selectors.parse(settings.node_selector))
    connection = await kube.connect()
    api = KubeApi(connection.transport)
    identity = leases.identity_of(
        settings.kubernetes.pod_name or socket.gethostname(),
        pod_uid=settings.kubernetes.pod_uid,
        # Short: the API allows 128 characters for who reports an Event.
        nonce=uuid.uuid4().hex[:8],
    )
    try:
        yield _Kube(
            connection=connection,
            api=api,
            reader=reader,
            nodes=KubeNodes(api, reader=reader, clock=utc_now),
            pods=KubePods(api),
            event_recorder=KubeEventRecorder(api, identity=identity, clock=utc_now),
            identity=identity,
            own_namespace=kube.own_namespace(),
        )
    finally:
        await connection.close()


async def _check_permissions(settings: Settings, cluster: _Kube) -> None:
    """Log each permission that is missing, and stop if the program cannot work without it."""
    needed = permissions.needed_by(settings, own_namespace=cluster.own_namespace)
    lease_name = settings.leader_election.lease_name
    try:
        missing = await permissions.missing(cluster.api, needed, lease_name=lease_name)
    except errors.PermanentError as error:
        _log.warning("permissions_not_checked", error=str(error))
        return
    except errors.TemporaryError as error:
        raise _unreachable(error) from error
    for permission in missing:
        _log.warning("permission_missing", permission=str(permission))
    fatal = [str(permission) for permission in missing if permission.is_needed]
    if fatal:
        raise errors.ConfigurationError(
            f"Kubernetes: the service account is not allowed to {', '.join(fatal)}",
            cure=permissions.cure_for(settings),
        )


def _unreachable(error: errors.QueueProcessorError) -> errors.ConfigurationError:
    return errors.ConfigurationError(
        f"Kubernetes: {error}",
        cure="check that KUBECONFIG names a cluster that can be reached, and that the service"
        " account is allowed to list nodes",
    )


async def _fill(node_index: NodeIndex, node_refresh: NodeRefresh) -> None:
    """List every node, so that the index is complete before the first message."""
    try:
        await node_refresh.load()
    except errors.QueueProcessorError as error:
        raise _unreachable(error) from error
    _log.info("nodes_indexed", nodes=len(node_index))


class Operator:
    """Everything that runs while the program runs, started and stopped as one."""

    def __init__(
        self,
        *,
        lead: Callable[[], Coroutine[None, None, None]],
        cluster: _Kube,
        aws: "Aws | None",
        webhooks: Webhooks,
    ) -> None:
        self._lead = lead
        self._cluster = cluster
        self._aws = aws
        self._webhooks = webhooks
        self._stop_requested = asyncio.Event()

    def take_signals(self) -> None:
        """Let SIGINT and SIGTERM request a stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.request_stop)

    def request_stop(self) -> None:
        """Begin to stop: release the messages in flight, then the Lease."""
        if self._stop_requested.is_set():
            _log.warning("stopped_at_once", reason="a second signal")
            os._exit(1)
        _log.info("stopping")
        self._stop_requested.set()

    async def run(self, **beside: Coroutine[None, None, None]) -> None:
        """Work until a stop is requested; raise what ended the work before that.

        Args:
            beside: What runs for as long as the work does, by name.
        """
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(self._cluster.event_recorder.run(), name="event_recorder"),
                group.create_task(self._webhooks.run(), name="webhooks"),
                *(group.create_task(each, name=name) for name, each in beside.items()),
            ]
            leading = group.create_task(self._lead(), name="leadership")
            await self._stop_requested.wait()
            leading.cancel()
            await asyncio.wait((leading,))
            await self._flush()
            if self._aws is not None:
                await self._aws.close()
            for helper in helpers:
                helper.cancel()
        _log.info("stopped")

    async def _flush(self) -> None:
        """Send the Events and notifications that still wait, as far as there is time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_LIMIT_SECONDS):
                await asyncio.gather(self._cluster.event_recorder.flush(), self._webhooks.flush())


def _dependencies(
    settings: Settings, aws: "Aws | None", cluster: _Kube, webhooks: Webhooks
) -> ports.Dependencies:
    election = settings.leader_election
    namespace, name = election.lease_namespace(cluster.own_namespace), election.lease_name
    return ports.Dependencies(
        sources=[] if aws is None or aws.source is None else [aws.source],
        lifecycle=NoLifecycleActions() if aws is None or aws.lifecycle is None else aws.lifecycle,
        managed=None if aws is None else aws.managed,
        nodes=cluster.nodes,
        pods=cluster.pods,
        guarded_pods=KubeGuardedPods(cluster.api),
        volumes=KubeVolumes(cluster.api),
        leases=KubeLeases(cluster.api, namespace=namespace, name=name),
        event_recorder=cluster.event_recorder,
        notifier=webhooks,
        identity=cluster.identity,
        own_namespace=cluster.own_namespace,
    )
