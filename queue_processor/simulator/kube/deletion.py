"""DELETE: graceful for pods, held up by finalizers, with preconditions.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
"""

import dataclasses
import datetime as dt
from collections.abc import Mapping

from queue_processor.simulator.kube import clock, objects, requests, resources, statuses, store


@dataclasses.dataclass(frozen=True, slots=True)
class DeleteOptions:
    """Options of a deletion; ``None`` and empty text are for what the request leaves open."""

    grace_seconds: int | None = None
    uid: str = ""
    version: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class DeleteResult:
    """The object's last state; ``is_gone`` if nothing holds it any longer."""

    stored: objects.Stored
    is_gone: bool


def parse(body: objects.JsonObject, query: Mapping[str, str]) -> DeleteOptions:
    """Read DeleteOptions from the body, and the grace period from the query if the body has none.

    Raises:
        statuses.ApiError: 400.
    """
    if body.get("dryRun"):
        raise statuses.bad_request("dryRun is not simulated")
    preconditions = body.get("preconditions") or {}
    grace = body.get("gracePeriodSeconds")
    if grace is None:
        grace = requests.parse_number(query, "gracePeriodSeconds")
    if grace is not None and not isinstance(grace, int):
        raise statuses.bad_request("gracePeriodSeconds is not a whole number")
    return DeleteOptions(
        grace_seconds=grace,
        uid=preconditions.get("uid") or "",
        version=preconditions.get("resourceVersion") or "",
    )


def is_released(stored: objects.Stored) -> bool:
    """Return True if neither finalizers nor a grace period hold a terminating object."""
    metadata = stored.metadata
    return not metadata.get("finalizers") and not metadata.get("deletionGracePeriodSeconds")


def check_preconditions(stored: objects.Stored, options: DeleteOptions) -> None:
    """Check that the request means this object and version.

    Raises:
        statuses.ApiError: 409.
    """
    resource, name, version = stored.resource, stored.name, str(stored.version)
    if options.uid and options.uid != stored.uid:
        raise statuses.precondition_failed(resource, name, "UID", options.uid, stored.uid)
    if options.version and options.version != version:
        expected = options.version
        raise statuses.precondition_failed(resource, name, "ResourceVersion", expected, version)


class Deletions:
    """Deletes objects the way the API server does."""

    def __init__(self, objects_store: store.Store) -> None:
        self._store = objects_store

    def delete(self, stored: objects.Stored, options: DeleteOptions) -> DeleteResult:
        """Delete an object, or begin its graceful deletion.

        Raises:
            statuses.ApiError: 409 if a precondition does not hold.
        """
        check_preconditions(stored, options)
        if stored.resource is resources.PODS:
            return self._delete_pod(stored, options)
        if stored.resource is resources.NAMESPACES:
            return DeleteResult(self._terminate_namespace(stored), is_gone=False)
        return self._finish(stored)

    def force(self, stored: objects.Stored) -> DeleteResult:
        """Delete without a grace period; finalizers still hold the object."""
        return self.delete(stored, DeleteOptions(grace_seconds=0))

    def _delete_pod(self, pod: objects.Stored, options: DeleteOptions) -> DeleteResult:
        metadata = pod.metadata
        if pod.is_terminating:
            current = metadata.get("deletionGracePeriodSeconds", 0)
            # Only a shorter grace period is accepted.
            if options.grace_seconds is None or max(options.grace_seconds, 0) >= current:
                return DeleteResult(pod, is_gone=False)
            grace = max(options.grace_seconds, 0)
            began = clock.parse_stamp(metadata["deletionTimestamp"])
            began -= dt.timedelta(seconds=current)
            generation = metadata.get("generation")
        else:
            grace = _grace_of(pod, options)
            began = self._store.now()
            generation = metadata.get("generation", 0) + 1
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
