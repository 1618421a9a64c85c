"""The ports of the controller: small protocols that the adapters implement structurally.

Every method may raise TemporaryError (try again) or PermanentError (it will be refused
again) besides the errors that its docstring names.
"""

import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

from queue_processor.domain.events import (
    AutoScalingGroup,
    Ignored,
    InterruptionEvent,
    LifecycleAction,
    LifecycleHook,
)
from queue_processor.domain.forecast import GuardedPod
from queue_processor.domain.holds import Hold
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.leases import Lease
from queue_processor.domain.nodes import DrainProgress, Mark, NodeView, WrittenNotice
from queue_processor.domain.notifications import DrainNotification
from queue_processor.domain.pods import Eviction, PodChange, PodList, PodRef
from queue_processor.observability.event_reasons import EventReason

Clock: TypeAlias = Callable[[], dt.datetime]
"""Returns the present, in UTC."""


class Delivery(Protocol):
    """One event, as a source delivered it, until the work on it is over.

    The work ends in one of three ways. An event that is dealt with is acknowledged. One that
    cannot be dealt with now is released. One that cannot be understood is rejected first, and then
    acknowledged. Acknowledging comes last, so a process that is killed loses no event.
    """

    @property
    def id(self) -> str:
        """Name the delivery in logs: the id of the message, where there is one.

        No two deliveries that are worked on at a time have the same, whatever their sources.
        """

    @property
    def receive_count(self) -> int:
        """Return how often the event was delivered, this time included."""

    @property
    def sent_at(self) -> dt.datetime:
        """Return when the source stored the event (UTC)."""

    @property
    def is_lost(self) -> bool:
        """True while the source regards the event as free for others, or for us once more.

        Work on the event goes on, but nothing that fails is worth another try.
        """

    def read(self) -> InterruptionEvent | Ignored:
        """Return what the source has to report.

        Raises:
            MalformedMessage: It cannot be understood.
        """

    async def acknowledge(self) -> None:
        """Take the event out of the source, for good.

        Raises:
            DeliveryLost: The source has taken the event back.
        """

    async def release(self, after: dt.timedelta) -> None:
        """Let the source deliver the event again, not before this time has passed.

        Raises:
            DeliveryLost: The source has taken the event back.
        """

    async def reject(self, reason: str) -> None:
        """Put a copy of an event that cannot be understood where people find it.

        The event itself stays until it is acknowledged.
        """

    def close(self) -> None:
        """End the work, however it went: from now on the source does not keep the event for us."""


class EventSource(Protocol):
    """A source of interruption events.

    A source keeps each delivery for us, from `receive` until the delivery is closed: nobody else
    gets the event meanwhile, for as long as `run` runs. What the source delivers once more
    although we are at work on it is its own business and never reaches us as a second delivery.
    """

    @property
    def name(self) -> str:
        """Name the source in logs and task names; no two sources have the same."""

    @property
    def longest_receive(self) -> dt.timedelta:
        """Return how long `receive` takes at most until it returns or fails."""

    async def receive(self) -> Sequence[Delivery]:
        """Wait for new deliveries; none after some seconds without any.

        A cancelled call loses nothing: what arrives afterwards is released.
        """

    async def run(self) -> None:
        """Keep the deliveries for us, until cancelled."""

    async def count_waiting(self) -> int:
        """Return about how many events wait to be delivered."""


class LifecycleActions(Protocol):
    """The lifecycle actions of Auto Scaling groups."""

    async def complete(self, action: LifecycleAction) -> None:
        """Complete the action, so that the group goes on; a no-op for one that is over."""

    async def heartbeat(self, action: LifecycleAction) -> None:
        """Restart the action's heartbeat timeout.

        Raises:
            NotFound: The action is over.
        """

    async def heartbeat_timeout(self, hook: LifecycleHook) -> dt.timedelta:
        """Return the hook's heartbeat timeout, as it was some minutes ago or later.

        Raises:
            NotFound: The group has no such hook.
        """

    async def group(self, name: str) -> AutoScalingGroup:
        """Return an Auto Scaling group, as it was up to half a minute ago.

        Raises:
            NotFound: There is no such group.
        """


class ManagedInstances(Protocol):
    """Decides which instances are ours by something that the cluster does not know."""

    async def is_managed(self, instance_id: InstanceId) -> bool:
        """Return True if the instance is ours."""


class Nodes(Protocol):
    """Nodes as the API server has them."""

    async def read(self, name: NodeName) -> NodeView | None:
        """Read a node, selected or not; None when it is no EC2 instance.

        Raises:
            NotFound: There is no such node.
        """

    async def mark(self, node: NodeView, mark: Mark) -> NodeView:
        """Cordon, taint, label and annotate a node in one write; an empty mark undoes all that.

        Raises:
            Conflict: The node has changed since `node` was read.
            NotFound: There is no such node any more.
            PermanentError: A policy of the cluster, or our permissions, do not allow it.
        """

    async def report(
        self,
        node: NodeView,
        progress: DrainProgress,
        message: str,
        *,
        since: dt.datetime,
        held: Sequence[Hold] = (),
    ) -> NodeView:
        """Write the drain conditions of a node.

        Args:
            node: The node.
            progress: How its drain stands.
            message: The same for people.
            since: When it began to stand so.
            held: The holds of the node to write down in the same request, if any.

        Raises:
            Conflict: Another node has its name.
            NotFound: There is no such node any more.
        """

    async def remove_notice(self, node: NodeView, notice: WrittenNotice) -> NodeView:
        """Remove the annotation of a notice, unless it has another value now.

        Raises:
            NotFound: There is no such node any more.
            PermanentError: A policy of the cluster, or our permissions, do not allow it.
        """

    async def declare_out_of_service(self, node: NodeView) -> NodeView:
        """Let the control plane free the pods and volumes of a node that is dead.

        Raises:
            Conflict: The node has changed since `node` was read.
            NotFound: There is no such node any more.
        """


class Pods(Protocol):
    """Pods as the API server has them."""

    async def on_node(self, name: NodeName, *, not_before: str | None = None) -> PodList:
        """List the pods of a node, as they were at a version or later."""

    async def on_nodes(self, names: Collection[NodeName]) -> Mapping[NodeName, PodList]:
        """List the pods of each node, as they are now, by reading those of the whole cluster."""

    def watch(self, version: str) -> AbstractAsyncContextManager[AsyncIterator[PodChange]]:
        """Follow the pods of all nodes from a version on; ends when the server ends it.

        Raises:
            WatchExpired: The version is too old, list again.
        """

    async def evict(self, pod: PodRef) -> Eviction:
        """Ask for a pod's eviction, with its own grace period."""

    async def delete(self, pod: PodRef, grace: dt.timedelta) -> None:
        """Delete a pod with this grace period, whatever its budget; a no-op if it is gone."""

    async def await_answers(self) -> None:
        """Wait a little for the answers to evictions whose drains have stopped."""


class GuardedPods(Protocol):
    """Pods together with the disruption budgets that decide about their evictions."""

    async def on_node(self, name: NodeName) -> Sequence[GuardedPod]:
        """List the pods of a node, each with its budgets, as they are about now."""


class Volumes(Protocol):
    """Volumes that are attached to nodes."""

    async def await_detached(self, name: NodeName, *, staying: Collection[tuple[str, str]]) -> None:
        """Return when no volume is attached to the node but those of pods that stay.

        Temporary errors of the list and of the watch are waited out.

        Args:
            name: The node.
            staying: Namespace and name of the claims that the pods use that stay.
        """


class Leases(Protocol):
    """The Lease that decides which process works."""

    async def read(self) -> Lease | None:
        """Read the Lease; None when there is none."""

    async def write(self, lease: Lease) -> Lease:
        """Create the Lease, or replace the version that `lease` was made from.

        Raises:
            Conflict: Another process wrote first.
        """


class Notifier(Protocol):
    """Notifies receivers outside of the cluster. Best effort: never blocks or raises."""

    def notify(self, notification: DrainNotification) -> None:
        """Notify that a drain begins, or how it ended."""


class EventRecorder(Protocol):
    """Records Kubernetes Events. Best effort: never blocks or raises."""

    def node_event(self, node: NodeView, reason: EventReason, note: str) -> None:
        """Record an Event about a node."""

    def pod_event(self, pod: PodRef, reason: EventReason, note: str) -> None:
        """Record an Event about a pod."""

    def hold_back(self, *, is_busy: bool) -> None:
        """Begin to write no Event, because the API server is busy with evictions, or end that."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """The world, as the controller needs it.

    Attributes:
        sources: Where events come from.
        managed: Narrows down which instances are ours; None: all nodes are.
        identity: Who we are in the election; no other process has the same.
        own_namespace: Of the pod that this process runs in, if it does.
    """

    sources: Sequence[EventSource]
    lifecycle: LifecycleActions
    managed: ManagedInstances | None
    nodes: Nodes
    pods: Pods
    guarded_pods: GuardedPods
    volumes: Volumes
    leases: Leases
    event_recorder: EventRecorder
    notifier: Notifier
    identity: str
    own_namespace: str | None
