"""Twelve programs with a planted defect each: what the oracle is worth.

A planted defect is a world in which one part of the program is wrong. No part is patched: each is
assembled differently, as `stage.World` allows.
"""

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, cast

from queue_processor.adapters.aws.source import SqsDelivery, SqsSource
from queue_processor.adapters.aws.sqs import SqsQueue
from queue_processor.adapters.kube.nodes import KubeNodes, NodeReader
from queue_processor.adapters.kube.transport import JsonObject
from queue_processor.controller import ports
from queue_processor.controller.node_index import NodeIndex
from queue_processor.controller.node_refresh import NodeRefresh
from queue_processor.domain import nodes, selectors
from queue_processor.domain.events import (
    EventKind,
    Ignored,
    InterruptionEvent,
    LifecycleTransition,
)
from queue_processor.domain.leases import Lease
from queue_processor.domain.messages import ReceivedMessage
from queue_processor.domain.nodes import Mark, NodeView, UnmappedNode
from queue_processor.domain.pods import Eviction, EvictionAnswer, PodRef
from queue_processor.settings import Settings
from queue_processor.simulator.kube import resources
from tests.simulation.port_faults import replaced
from tests.simulation.world import SimulationWorld


class PlantedDefect(SimulationWorld):
    """A world whose program has a defect in one of its ports."""

    def wrapped(self, dependencies: ports.Dependencies) -> ports.Dependencies:
        return super().wrapped(self.planted(dependencies))

    def planted(self, dependencies: ports.Dependencies) -> ports.Dependencies:
        """Return what the controller works with, one part of it wrong."""
        return dependencies


class MessageDeletedBeforeDrain(PlantedDefect):
    """Acknowledges a message when it is received."""

    def planted(self, dependencies: ports.Dependencies) -> ports.Dependencies:
        async def acknowledge(delivery: ports.Delivery) -> ports.Delivery:
            await delivery.acknowledge()
            return delivery

        return _with_deliveries(dependencies, acknowledge)


class CompletionBeforeDrain(PlantedDefect):
    """Completes the lifecycle action of a termination when its message is received."""

    def planted(self, dependencies: ports.Dependencies) -> ports.Dependencies:
        async def complete(delivery: ports.Delivery) -> ports.Delivery:
            event = _read(delivery)
            action = None if event is None else event.lifecycle_action
            if action is not None and action.transition is LifecycleTransition.TERMINATING:
                await dependencies.lifecycle.complete(action)
            return delivery

        return _with_deliveries(dependencies, complete)


class CancelledByKind(PlantedDefect):
    """Takes all scheduled changes for the same one."""

    def planted(self, dependencies: ports.Dependencies) -> ports.Dependencies:
        async def forget_identity(delivery: ports.Delivery) -> ports.Delivery:
            event = _read(delivery)
            if event is None or event.kind is not EventKind.SCHEDULED_CHANGE:
                return delivery
            of_kind = dataclasses.replace(event, change_id=event.kind.value)
            return cast("ports.Delivery", _ReadAs(delivery, of_kind))

        return _with_deliveries(dependencies, forget_identity)


class EvictionWithoutUid(PlantedDefect):
    """Evicts the pod that has the name now, whichever it is."""

    def planted(self, dependencies: ports.Dependencies) -> ports.Dependencies:
        pods = dependencies.pods

        async def evict(pod: PodRef) -> Eviction:
            stored = self.cluster.store.get(resources.PODS, pod.namespace, pod.name)
            uid = pod.uid if stored is None else stored.uid
            return await pods.evict(dataclasses.replace(pod, uid=uid))

        return dataclasses.replace(dependencies, pods=replaced(pods, ports.Pods, evict=evict))


class OverrideAtOnce(PlantedDefect):
    """Deletes a pod that its budget blocks, whatever the deadline."""

    def planted(self, dependencies: ports.Dependencies) -> ports.Dependencies:
        pods = dependencies.pods

        async def evict(pod: PodRef) -> Eviction:
            eviction = await pods.evict(pod)
            if eviction.answer is EvictionAnswer.BLOCKED:
                await pods.delete(pod, dt.timedelta(seconds=30))
            return eviction

        return dataclasses.replace(dependencies, pods=replaced(pods, ports.Pods, evict=evict))


class LeaseIgnored(PlantedDefect):
    """Takes the Lease from a process that holds it."""

    def planted(self, dependencies: ports.Dependencies) -> ports.Dependencies:
        leases = dependencies.leases

        async def read() -> Lease | None:
            lease = await leases.read()
            return None if lease is None else dataclasses.replace(lease, holder="")

        return dataclasses.replace(dependencies, leases=replaced(leases, ports.Leases, read=read))


class HoldNotWritten(PlantedDefect):
    """Writes the mark without its holds."""

    def planted(self, dependencies: ports.Dependencies) -> ports.Dependencies:
        async def mark(node: NodeView, mark: Mark) -> NodeView:
            marked = await dependencies.nodes.mark(node, mark)
            if mark.holds:
                self.change_node(node.name, annotations={nodes.HOLDS_ANNOTATION: None})
            return marked

        return _with_mark(dependencies, mark)


class NoUndo(PlantedDefect):
    """Leaves the mark where nothing holds the node any more."""

    def planted(self, dependencies: ports.Dependencies) -> ports.Dependencies:
        async def mark(node: NodeView, mark: Mark) -> NodeView:
            return await dependencies.nodes.mark(node, mark) if mark.holds else node

        return _with_mark(dependencies, mark)


class MarksOfOthersRemoved(PlantedDefect):
    """Undoes a cordon without a look at who made it."""

    def planted(self, dependencies: ports.Dependencies) -> ports.Dependencies:
        async def mark(node: NodeView, mark: Mark) -> NodeView:
            ours = dataclasses.replace(node, is_cordoned_by_us=True, is_excluded_by_us=True)
            return await dependencies.nodes.mark(node if mark.holds else ours, mark)

        return _with_mark(dependencies, mark)


class IndexBelieved(PlantedDefect):
    """Believes that there is no node because the index has none."""

    def node_refresh(self, node_index: NodeIndex, nodes: KubeNodes) -> NodeRefresh:
        return _NoRefresh(node_index, nodes.all)


class _NoRefresh(NodeRefresh):
    async def refresh(self) -> None:
        """Return at once."""


class RefutedEventBelieved(PlantedDefect):
    """Does not see that a node is alive."""

    def node_reader(self, settings: Settings) -> NodeReader:
        return _LifelessReader(selectors.parse(settings.node_selector))


class _LifelessReader(NodeReader):
    def _read(self, node: JsonObject) -> NodeView | UnmappedNode | None:
        view = super()._read(node)
        if not isinstance(view, NodeView):
            return view
        return dataclasses.replace(view, created_at=None, last_heartbeat_at=None, ready_since=None)


class StaleReceiptHandle(PlantedDefect):
    """Keeps the first receipt handle of a message."""

    def source(self, queue: SqsQueue) -> SqsSource:
        return _FirstHandles(queue, clock=self.wall_clock)


class _FirstHandles(SqsSource):
    def _delivery_of(self, message: ReceivedMessage) -> SqsDelivery | None:
        is_second = message.message_id in self._deliveries
        return None if is_second else super()._delivery_of(message)


DEFECTS: Sequence[type[PlantedDefect]] = (
    MessageDeletedBeforeDrain,
    EvictionWithoutUid,
    StaleReceiptHandle,
    LeaseIgnored,
    OverrideAtOnce,
    CancelledByKind,
    IndexBelieved,
    CompletionBeforeDrain,
    HoldNotWritten,
    NoUndo,
    RefutedEventBelieved,
    MarksOfOthersRemoved,
)


class _ReadAs:
    """A delivery that is read as another event."""

    def __init__(self, delivery: ports.Delivery, event: InterruptionEvent) -> None:
        self._delivery = delivery
        self._event = event

    def read(self) -> InterruptionEvent | Ignored:
        return self._event

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the delivery has
        return getattr(self._delivery, name)


def _read(delivery: ports.Delivery) -> InterruptionEvent | None:
    try:
        event = delivery.read()
    except Exception:  # noqa: BLE001 - it is malformed, and the program finds that out, too
        return None
    return event if isinstance(event, InterruptionEvent) else None


def _with_deliveries(
    dependencies: ports.Dependencies, change: Callable[[ports.Delivery], Any]
) -> ports.Dependencies:
    def changed(source: ports.EventSource) -> ports.EventSource:
        async def receive() -> Sequence[ports.Delivery]:
            return [await change(delivery) for delivery in await source.receive()]

        return replaced(source, ports.EventSource, receive=receive)

    return dataclasses.replace(
        dependencies, sources=[changed(each) for each in dependencies.sources]
    )


def _with_mark(
    dependencies: ports.Dependencies, mark: Callable[[NodeView, Mark], Any]
) -> ports.Dependencies:
    return dataclasses.replace(
        dependencies, nodes=replaced(dependencies.nodes, ports.Nodes, mark=mark)
    )
