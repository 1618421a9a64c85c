"""The instances that have metadata, and what is announced to each."""

import datetime as dt
from collections.abc import Iterable, Mapping

from queue_processor.domain import errors, identifiers
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.nodes import PROTECTED_LABEL
from queue_processor.simulator.imds import instances
from queue_processor.simulator.imds.announcements import Announced, NodeAnnouncement
from queue_processor.simulator.imds.instances import SimulatedInstance

# Of everything that is announced to nothing.
_NOTHING = Announced().bodies()


class MetadataFleet:
    """The nodes of a cluster; or, without a cluster, a node for every name that a request has."""

    def __init__(self, nodes: Iterable[SimulatedInstance] | None = None) -> None:
        """Build a fleet.

        Args:
            nodes: Those of the cluster; None if there is no cluster, so that nodes are invented.
        """
        self._are_invented = nodes is None
        self._nodes: dict[NodeName, SimulatedInstance] = {}
        self._by_address: dict[str, NodeName] = {}
        self._announced: dict[NodeName, Announced] = {}
        self._bodies: dict[NodeName, Mapping[str, str]] = {}
        for node in nodes or ():
            self.put(node)

    @property
    def size(self) -> int:
        """The number of nodes that are not invented."""
        return len(self._nodes)

    def replace_all(self, nodes: Iterable[SimulatedInstance]) -> None:
        """Take over a complete list of the nodes."""
        by_name = {node.node: node for node in nodes}
        for name in self._nodes.keys() - by_name.keys():
            self.remove(name)
        for node in by_name.values():
            self.put(node)

    def put(self, node: SimulatedInstance) -> None:
        """Add or update a node. What was announced to another instance is not about this one."""
        before = self._nodes.get(node.node)
        if before is not None and before.instance_id != node.instance_id:
            self.remove(node.node)
        elif before is not None and before.private_ip != node.private_ip:
            self._by_address.pop(before.private_ip, None)
        self._nodes[node.node] = node
        self._by_address[node.private_ip] = node.node

    def remove(self, name: NodeName) -> None:
        """Remove a node, and what was announced to its instance."""
        node = self._nodes.pop(name, None)
        if node is not None and self._by_address.get(node.private_ip) == name:
            del self._by_address[node.private_ip]
        self._announced.pop(name, None)
        self._bodies.pop(name, None)

    def has(self, name: str) -> bool:
        """Return True if a node with this name has metadata."""
        if self._are_invented:
            return identifiers.parse_node_name(name) is not None
        return name in self._nodes

    def name_of_caller(self, address: str) -> str:
        """Return the node with this address; without one, the address is the name."""
        return self._by_address.get(address, address)

    def instance_of(self, name: NodeName) -> SimulatedInstance:
        """Return the instance of a node that has metadata."""
        return self._nodes.get(name) or instances.invented(name)

    def bodies_of(self, name: NodeName) -> Mapping[str, str]:
        """Return what is announced to a node, below `meta-data/` by path."""
        return self._bodies.get(name, _NOTHING)

    def announce(self, order: NodeAnnouncement, *, now: dt.datetime) -> str:
        """Announce something to a node; return what identifies it: an id or a time.

        Raises:
            UsageError: There is no such node, it is protected, runs on another instance, or has
                nothing that can be cancelled.
        """
        name = order.node
        if not self.has(name):
            raise errors.UsageError("the cluster of `imds serve` has no such node")
        instance = self.instance_of(name)
        if instance.is_protected:
            raise errors.UsageError(f"protected by the label {PROTECTED_LABEL}")
        if order.instance_id not in {None, instance.instance_id}:
            raise errors.UsageError(
                f"runs on {order.instance_id}, but on {instance.instance_id} for `imds serve`;"
                " start that with the same KUBECONFIG"
            )
        before = self._announced.get(name, Announced())
        after, identity = before.after(order.announcement, now=now)
        self._announced[name] = after
        self._bodies[name] = after.bodies()
        return identity
