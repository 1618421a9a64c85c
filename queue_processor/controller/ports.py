"""What this layer needs of the world, as small roles; the adapters fill them structurally.

Every method may raise TemporaryError (try again) or PermanentError (it will be refused
again) besides the errors that its docstring names.
"""

import datetime as dt
import enum
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

from queue_processor.domain.events import LifecycleAction, LifecycleHook
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.leases import Lease
from queue_processor.domain.messages import ReceivedMessage
from queue_processor.domain.nodes import Mark, NodeView
from queue_processor.domain.notifications import DrainNotification
from queue_processor.domain.pods import Eviction, PodChange, PodList, PodRef

Clock: TypeAlias = Callable[[], dt.datetime]
"""Tells the present, in UTC."""


class MessageQueue(Protocol):
    """The queue that the events come from."""

    async def receive(self) -> Sequence[ReceivedMessage]:
        """Wait for messages, at most ten, at most as long as one receive may take."""

    async def hide(self, receipt_handle: str, duration: dt.timedelta) -> None:
        """Keep a message invisible for this long from now; zero gives it back at once.

        Raises:
            StaleReceiptHandle: The handle is stale, or the message was invisible for 12 hours.
        """

    async def delete(self, receipt_handle: str) -> None:
        """Delete a message.

        Raises:
            StaleReceiptHandle: The handle is stale.
        """

    async def dead_letter(self, message: ReceivedMessage, reason: str) -> bool:
        """Put a copy on the dead-letter queue; False when the queue has none."""

    async def count_waiting(self) -> int:
        """About how many messages wait to be received; those in hand are not among them."""


class LifecycleActions(Protocol):
    """The lifecycle actions of Auto Scaling groups."""

    async def complete(self, action: LifecycleAction) -> None:
        """Let the group go on; a no-op for an action that is over already."""

    async def heartbeat(self, action: LifecycleAction) -> None:
        """Start the action's heartbeat timeout anew.

        Raises:
            NotFound: The action is over.
        """

    async def heartbeat_timeout(self, hook: LifecycleHook) -> dt.timedelta:
        """The hook's heartbeat timeout; asked once for each hook.

        Raises:
            NotFound: The group has no such hook.
        """


class ManagedInstances(Protocol):
    """Tells which instances are ours by something that the cluster does not know."""

    async def is_managed(self, instance_id: InstanceId) -> bool:
        """Whether the instance is ours."""


class Nodes(Protocol):
    """Nodes as the API server has them."""

    async def read(self, name: NodeName) -> NodeView | None:
        """Read a node; None when it is no EC2 instance, or not one of ours.

        Raises:
            NotFound: There is no such node.
        """

    async def mark(self, node: NodeView, mark: Mark) -> NodeView:
        """Cordon, taint, label and annotate a node in one write.

        Raises:
            Conflict: The node has changed since `node` was read.
            NotFound: There is no such node any more.
        """

    async def unmark(self, node: NodeView) -> NodeView:
        """Take our mark off, and uncordon if it was us who cordoned.

        Raises:
            Conflict: The node has changed since `node` was read.
            NotFound: There is no such node any more.
        """

    async def report(
        self, node: NodeView, progress: "DrainProgress", message: str, *, since: dt.datetime
    ) -> None:
        """Write the drain conditions of a node.

        Args:
            node: The node.
            progress: How its drain stands.
            message: The same for people.
            since: When it began to stand so.

        Raises:
            NotFound: There is no such node any more.
        """

    async def declare_out_of_service(self, node: NodeView) -> None:
        """Let the control plane free the pods and volumes of a node that is dead.

        Raises:
            Conflict: The node has changed since `node` was read.
            NotFound: There is no such node any more.
        """


class DrainProgress(enum.Enum):
    """What the conditions of a node say about its drain."""

    IN_PROGRESS = "in progress"
    DRAINED = "drained"
    STOPPED = "stopped"


class Pods(Protocol):
    """Pods as the API server has them."""

    async def on_node(self, name: NodeName, *, not_before: str | None = None) -> PodList:
        """List the pods of a node, as they were at a version or later."""

    def watch(self, version: str) -> AbstractAsyncContextManager[AsyncIterator[PodChange]]:
        """Follow the pods of all nodes from a version on; ends when the server ends it.

        Raises:
            WatchExpired: The version is too old, list again.
        """

    async def evict(self, pod: PodRef) -> Eviction:
        """Ask for a pod's eviction, with its own grace period."""

    async def delete(self, pod: PodRef, grace: dt.timedelta) -> None:
        """Delete a pod with this grace period, whatever its budget; a no-op if it is gone."""


class Volumes(Protocol):
    """Volumes that are attached to nodes."""

    async def await_detached(self, name: NodeName, *, staying: Collection[tuple[str, str]]) -> None:
        """Return when no volume is attached to the node but those of pods that stay.

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
            Conflict: Somebody else wrote first.
        """


class Notifier(Protocol):
    """Tells the world outside of the cluster about drains; never fails and never waits."""

    def notify(self, notification: DrainNotification) -> None:
        """Tell that a drain begins, or how it ended."""


class EventRecorder(Protocol):
    """Tells people what happened, as Events; never fails and never waits."""

    def node_event(self, node: NodeView, reason: str, message: str, *, is_warning: bool) -> None:
        """Tell something about a node."""

    def pod_event(self, pod: PodRef, reason: str, message: str) -> None:
        """Warn about a pod."""
