"""The object store, with the log of changes that watches and paged lists read.

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

import bisect
import collections
import contextlib
import dataclasses
import datetime as dt
import enum
from collections.abc import Callable, Collection, Iterator, Sequence

from queue_processor.simulator.kube import clock, objects, resources

Key = tuple[str, str]
# How many changes of each resource are kept for watches and paged lists.
_LOG_SIZE = 50_000


class ChangeKind(enum.Enum):
    """The event types of a watch."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Cause(enum.Enum):
    """The kinds of requests that cause changes."""

    SEED = "seed"
    WRITE = "write"
    DELETE = "delete"
    EVICTION = "eviction"
    CONTROLLER = "controller"


@dataclasses.dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change, a user agent or a controller, and the kind of its request."""

    name: str
    cause: Cause


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One change of one object.

    ``before`` is ``None`` if the object is new. After a deletion ``after`` is the last state under
    the resourceVersion of the deletion.
    """

    kind: ChangeKind
    before: objects.Stored | None
    after: objects.Stored
    actor: Actor

    @property
    def version(self) -> int:
        """Return the resourceVersion of the change."""
        return self.after.version

    @property
    def resource(self) -> resources.Resource:
        """Return the resource of the object."""
        return self.after.resource

    @property
    def current(self) -> objects.Stored | None:
        """Return the new state, ``None`` if the object is gone."""
        return None if self.kind is ChangeKind.DELETED else self.after


class Store:
    """All objects by resource, namespace and name.

    Observers are called at once and in order. They must not write; they schedule work for later.
    """

    def __init__(self, now: Callable[[], dt.datetime]) -> None:
        self.now = now
        self.version = 100
        self._objects: dict[resources.Resource, dict[Key, objects.Stored]] = {
            resource: {} for resource in resources.ALL
        }
        self._sorted: dict[resources.Resource, list[Key]] = {res: [] for res in resources.ALL}
        self._logs: dict[resources.Resource, collections.deque[Change]] = {
            resource: collections.deque() for resource in resources.ALL
        }
        self._floors: dict[resources.Resource, int] = dict.fromkeys(resources.ALL, 0)
        self._latest: dict[resources.Resource, int] = {}
        self._on_node: dict[str, dict[Key, objects.Stored]] = {}
        self._of_owner: dict[str, dict[Key, objects.Stored]] = {}
        self._observers: list[Callable[[Change], None]] = []
        self._actor = Actor("seed", Cause.SEED)
        self._uids = 0

    # Reading

    def get(self, resource: resources.Resource, namespace: str, name: str) -> objects.Stored | None:
        """Return the object, if it exists."""
        return self._objects[resource].get((namespace, name))

    def node(self, name: str) -> objects.Stored | None:
        """Return the node, if it exists."""
        return self._objects[resources.NODES].get(("", name))

    def every(self, resource: resources.Resource) -> Collection[objects.Stored]:
        """Return all objects of a resource, in no particular order."""
        return self._objects[resource].values()

    def ordered(self, resource: resources.Resource, namespace: str = "") -> list[objects.Stored]:
        """Return the objects of a resource, or of one namespace of it, by namespace and name."""
        held, keys = self._objects[resource], self._sorted[resource]
        if len(keys) != len(held):
            keys = self._sorted[resource] = sorted(held)
        if namespace:
            first = bisect.bisect_left(keys, (namespace, ""))
            last = bisect.bisect_left(keys, (namespace + "\0", ""))
            keys = keys[first:last]
        return [held[key] for key in keys]

    def pods_on(self, node: str) -> Collection[objects.Stored]:
        """Return the pods that are bound to a node."""
        return self._on_node.get(node, {}).values()

    def pods_of(self, uid: str) -> Collection[objects.Stored]:
        """Return the pods that a controller owns."""
        return self._of_owner.get(uid, {}).values()

    def floor(self, resource: resources.Resource) -> int:
        """Return the oldest resourceVersion from which the log is complete."""
        return self._floors[resource]

    def latest(self, resource: resources.Resource) -> int:
        """Return the resourceVersion of the last change of a resource; 0 before any."""
        return self._latest.get(resource, 0)

    def changes_since(self, resource: resources.Resource, version: int) -> Iterator[Change]:
        """Return the changes after a version, oldest first; complete from the floor on."""
        return (change for change in self._logs[resource] if change.version > version)

    def state_at(self, resource: resources.Resource, version: int) -> list[objects.Stored]:
        """Return the objects as they were at a version, by namespace and name."""
        if version >= self.version:
            return self.ordered(resource)
        held: dict[Key, objects.Stored] = dict(self._objects[resource])
        for change in reversed(self._logs[resource]):
            if change.version <= version:
                break
            if change.before is None:
                del held[change.after.key]
            else:
                held[change.after.key] = change.before
        return [held[key] for key in sorted(held)]

    # Writing

    @contextlib.contextmanager
    def acting(self, actor: Actor) -> Iterator[None]:
        """Set the author of the writes in this block."""
        previous, self._actor = self._actor, actor
        try:
            yield
        finally:
            self._actor = previous

    def observe(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        """Call back on every change; return what ends it."""
        self._observers.append(callback)
        return lambda: self._observers.remove(callback)

    def create(
        self, resource: resources.Resource, key: Key, body: objects.JsonObject
    ) -> objects.Stored:
        """Store a new object under a free name, with uid, creation time and version."""
        namespace, name = key
        self._uids += 1
        uid = f"5e11e000-0000-4000-8000-{self._uids:012x}"
        metadata: objects.JsonObject = {"name": name}
        if namespace:
            metadata["namespace"] = namespace
        metadata["uid"] = uid
        metadata["resourceVersion"] = str(self._next_version())
        if resource.generation:
            metadata["generation"] = 1
        metadata["creationTimestamp"] = clock.stamp(self.now())
        # What the server sets wins over the body, and metadata comes first.
        metadata |= {
            name: body["metadata"][name] for name in body["metadata"] if name not in metadata
        }
        body = {"metadata": metadata} | {
            name: value for name, value in body.items() if name != "metadata"
        }
        stored = objects.Stored(resource, namespace, name, uid, self.version, body)
        self._objects[resource][key] = stored
        self._commit(Change(ChangeKind.ADDED, None, stored, self._actor))
        return stored

    def update(self, old: objects.Stored, body: objects.JsonObject) -> objects.Stored:
        """Store a new state; without a difference the old version stays."""
        if body == old.body:
            return old
        metadata = {**body["metadata"], "resourceVersion": str(self._next_version())}
        new = objects.Stored(
            old.resource,
            old.namespace,
            old.name,
            old.uid,
            self.version,
            {**body, "metadata": metadata},
        )
        self._objects[old.resource][old.key] = new
        self._commit(Change(ChangeKind.MODIFIED, old, new, self._actor))
        return new

    def remove(self, old: objects.Stored) -> objects.Stored:
        """Remove an object; return its last state under the version of the deletion."""
        del self._objects[old.resource][old.key]
        gone = old.with_version(self._next_version())
        self._commit(Change(ChangeKind.DELETED, old, gone, self._actor))
        return gone

    def compact(self) -> None:
        """Forget all history: older watches and paged lists get 410."""
        for resource, log in self._logs.items():
            log.clear()
            self._floors[resource] = self.version

    def _next_version(self) -> int:
        self.version += 1
        return self.version

    def _commit(self, change: Change) -> None:
        resource = change.resource
        log = self._logs[resource]
        log.append(change)
        self._latest[resource] = change.version
        if len(log) > _LOG_SIZE:
            self._floors[resource] = log.popleft().version
        if change.kind is not ChangeKind.MODIFIED:
            # Its length differs from that of the objects: the next reader sorts again.
            self._sorted[resource] = []
        if resource is resources.PODS:
            self._index(change)
        for observer in tuple(self._observers):
            observer(change)

    def _index(self, change: Change) -> None:
        before, after, key = change.before, change.current, change.after.key
        places: Sequence[tuple[dict[str, dict[Key, objects.Stored]], str, str]] = (
            (self._on_node, _node_of(before), _node_of(after)),
            (self._of_owner, _owner_of(before), _owner_of(after)),
        )
        for index, old, new in places:
            if old and old != new:
                index[old].pop(key, None)
                if not index[old]:
                    del index[old]
            if new and after is not None:
                index.setdefault(new, {})[key] = after


def _node_of(pod: objects.Stored | None) -> str:
    return pod.node_name if pod is not None else ""


def _owner_of(pod: objects.Stored | None) -> str:
    return pod.controller_uid if pod is not None else ""
