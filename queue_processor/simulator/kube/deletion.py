"""DELETE: graceful for pods, held up by finalizers, with preconditions.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
"""

import dataclasses
import datetime as dt
from collections.abc import Mapping

from queue_processor.simulator.kube import clock, listing, objects, resources, statuses, store


@dataclasses.dataclass(frozen=True, slots=True)
class DeleteOptions:
    """How to delete; ``None`` and empty mean that the request does not say."""

    grace_seconds: int | None = None
    uid: str = ""
    version: str = ""
    dry_run: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class DeleteResult:
    """The outcome: the last state, and whether the object is gone already."""

    stored: objects.Stored
    is_gone: bool


def parse(body: objects.JsonObject | None, query: Mapping[str, str]) -> DeleteOptions:
    """Read DeleteOptions from the body, or from the query where the body is silent.

    Raises:
        statuses.ApiError: 400 when they cannot be read.
    """
    given = body or {}
    preconditions = given.get("preconditions") or {}
    grace = given.get("gracePeriodSeconds")
    if grace is None:
        grace = listing.parse_number(query, "gracePeriodSeconds")
    if grace is not None and not isinstance(grace, int):
        raise statuses.bad_request("gracePeriodSeconds is not a whole number")
    return DeleteOptions(
        grace_seconds=grace,
        uid=preconditions.get("uid") or "",
        version=preconditions.get("resourceVersion") or "",
        dry_run="All" in (given.get("dryRun") or [query.get("dryRun")]),
    )


def is_released(stored: objects.Stored) -> bool:
    """Whether nothing holds a terminating object any more."""
    metadata = stored.metadata
    return not metadata.get("finalizers") and not metadata.get("deletionGracePeriodSeconds")


def check_preconditions(stored: objects.Stored, options: DeleteOptions) -> None:
    """Refuse when another object or version was meant.

    Raises:
        statuses.ApiError: 409.
    """
    resource, name, version = stored.resource, stored.name, str(stored.version)
    if options.uid and options.uid != stored.uid:
        raise statuses.precondition_failed(resource, name, "UID", options.uid, stored.uid)
    if options.version and options.version != version:
        found = options.version
        raise statuses.precondition_failed(resource, name, "ResourceVersion", found, version)


class Deletions:
    """Deletes objects the way the API server does."""

    def __init__(self, objects_store: store.Store) -> None:
        self._store = objects_store

    def delete(self, stored: objects.Stored, options: DeleteOptions) -> DeleteResult:
        """Delete, or ask for the end of, an object.

        Raises:
            statuses.ApiError: 409 when a precondition does not hold.
        """
        check_preconditions(stored, options)
        if stored.resource is resources.PODS:
            return self._delete_pod(stored, options)
        if options.dry_run:
            return DeleteResult(stored, is_gone=True)
        if stored.resource is resources.NAMESPACES:
            return DeleteResult(self._terminate_namespace(stored), is_gone=False)
        return self._finish(stored)

    def force(self, stored: objects.Stored) -> DeleteResult:
        """Delete without grace; finalizers still hold the object."""
        return self.delete(stored, DeleteOptions(grace_seconds=0))

    def _delete_pod(self, pod: objects.Stored, options: DeleteOptions) -> DeleteResult:
        metadata = pod.metadata
        if pod.is_terminating:
            known = metadata.get("deletionGracePeriodSeconds", 0)
            # Only a shorter grace period is accepted.
            if options.grace_seconds is None or max(options.grace_seconds, 0) >= known:
                return DeleteResult(pod, is_gone=False)
            grace = max(options.grace_seconds, 0)
            began = clock.parse_stamp(metadata["deletionTimestamp"])
            began -= dt.timedelta(seconds=known)
            generation = metadata.get("generation")
        else:
            grace = _grace_of(pod, options)
            began = self._store.now()
            generation = metadata.get("generation", 0) + 1
        if options.dry_run:
            return DeleteResult(pod, is_gone=grace == 0)
        if grace == 0:
            return self._finish(pod)
        ends = began + dt.timedelta(seconds=grace)
        changed = metadata | {
            "deletionTimestamp": clock.stamp(ends),
            "deletionGracePeriodSeconds": grace,
            "generation": generation,
        }
        return DeleteResult(
            self._store.update(pod, pod.body | {"metadata": changed}), is_gone=False
        )

    def _finish(self, stored: objects.Stored) -> DeleteResult:
        if not stored.metadata.get("finalizers"):
            return DeleteResult(self._store.remove(stored), is_gone=True)
        moment = stored.metadata.get("deletionTimestamp") or clock.stamp(self._store.now())
        metadata = stored.metadata | {
            "deletionTimestamp": moment,
            "deletionGracePeriodSeconds": 0,
        }
        held = self._store.update(stored, stored.body | {"metadata": metadata})
        return DeleteResult(held, is_gone=False)

    def _terminate_namespace(self, namespace: objects.Stored) -> objects.Stored:
        if namespace.is_terminating:
            return namespace
        metadata = namespace.metadata | {"deletionTimestamp": clock.stamp(self._store.now())}
        status = namespace.status | {"phase": "Terminating"}
        body = namespace.body | {"metadata": metadata, "status": status}
        return self._store.update(namespace, body)


def _grace_of(pod: objects.Stored, options: DeleteOptions) -> int:
    if not pod.node_name or objects.is_finished(pod):
        return 0
    grace = options.grace_seconds
    if grace is None:
        grace = int(pod.spec.get("terminationGracePeriodSeconds") or 0)
    return 1 if grace < 0 else grace
