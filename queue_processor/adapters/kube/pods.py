"""Pods: list and watch those of a node, evict, delete."""

import asyncio
import contextlib
import datetime as dt
import http
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping

import structlog

from queue_processor.adapters.kube import api
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.transport import Answer, JsonObject
from queue_processor.domain import errors, pods
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.pods import (
    Eviction,
    EvictionAnswer,
    PodChange,
    PodList,
    PodRef,
    PodView,
)

_log = structlog.get_logger(__name__)

PODS = "/api/v1/pods"
# Pods that are bound to a node, whichever.
_BOUND = {"fieldSelector": "spec.nodeName!="}
_MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
# Evictions under one budget get into each other's way, and the API server repeats those that
# lost, every 0.5 s and for up to 10 s, before it answers.
# https://github.com/kubernetes/kubernetes/blob/master/pkg/registry/core/pod/storage/eviction.go
_EVICTION_SECONDS = 20.0
# Most of those that wait for each other are through by then.
_LAST_ANSWERS_SECONDS = 2.0
_FINISHED_PHASES = frozenset({"Succeeded", "Failed"})
# The API server checks the precondition in two places.
# https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/apiserver/pkg/registry/rest/delete.go
# https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/apiserver/pkg/storage/interfaces.go
_OTHER_UID = ("the UID in the precondition", "UID in precondition")
_NOT_A_POD = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


def view_of(pod: JsonObject) -> PodView:
    """Return the view of a Pod; a missing field counts as the API's default."""
    metadata, spec = pod["metadata"], pod.get("spec", {})
    owners = metadata.get("ownerReferences") or []
    return PodView(
        ref=PodRef(namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"]),
        grace=pods.grace_of(spec.get("terminationGracePeriodSeconds")),
        owner_kind=next((owner["kind"] for owner in owners if owner.get("controller")), None),
        priority_class=spec.get("priorityClassName", ""),
        is_mirror=_MIRROR_ANNOTATION in (metadata.get("annotations") or {}),
        is_finished=pod.get("status", {}).get("phase") in _FINISHED_PHASES,
        is_terminating="deletionTimestamp" in metadata,
        claims=tuple(_claims(metadata["name"], spec.get("volumes") or [])),
    )


def _claims(pod_name: str, volumes: list[JsonObject]) -> Iterator[str]:
    """Yield the claims behind volumes; an ephemeral one is named after the pod and the volume.

    https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#persistentvolumeclaim-naming
    """
    for volume in volumes:
        if "persistentVolumeClaim" in volume:
            yield volume["persistentVolumeClaim"]["claimName"]
        elif "ephemeral" in volume:
            yield f"{pod_name}-{volume['name']}"


class KubePods:
    """Pods on the API server."""

    def __init__(self, kube: KubeApi) -> None:
        self._api = kube
        self._evictions: set[asyncio.Future[Answer]] = set()

    async def on_node(self, name: NodeName, *, not_before: str | None = None) -> PodList:
        """List the pods of a node, as they were at a version or later.

        The list comes out of the API server's cache, where they are indexed by node. In pages it
        would be of all pods of the cluster.
        https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list
        """
        query = {"fieldSelector": f"spec.nodeName={name}", "resourceVersion": not_before or "0"}
        if not_before:
            query["resourceVersionMatch"] = "NotOlderThan"
        listed = await self._api.list(PODS, query=query)
        return PodList(pods=tuple(_views(listed["items"])), version=api.version_of(listed))

    async def on_nodes(self, names: Collection[NodeName]) -> Mapping[NodeName, PodList]:
        by_node: dict[str, list[PodView]] = {name: [] for name in names}
        version = ""
        async for page in self._api.pages(PODS, query=_BOUND):
            version = api.version_of(page)
            for pod in page["items"]:
                if (of_node := by_node.get(_node_name_of(pod))) is not None:
                    of_node.extend(_views((pod,)))
        return {name: PodList(pods=tuple(by_node[name]), version=version) for name in names}

    @contextlib.asynccontextmanager
    async def watch(self, version: str) -> AsyncIterator[AsyncIterator[PodChange]]:
        query = {**_BOUND, "resourceVersion": version}
        async with self._api.watch(PODS, query=query) as events:
            yield _changes(events, version)

    async def evict(self, pod: PodRef) -> Eviction:
        """Evict a pod.

        When this is cancelled the request goes on. The API server does not notice that its client
        is gone until it has taken the pod's part of the budget: then it does not delete the pod,
        and the budget is held for two minutes.
        """
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/eviction"
        asking = asyncio.ensure_future(
            self._api.ask(
                path,
                {
                    "apiVersion": "policy/v1",
                    "kind": "Eviction",
                    "metadata": {"namespace": pod.namespace, "name": pod.name},
                    "deleteOptions": {"preconditions": {"uid": pod.uid}},
                },
                limit_seconds=_EVICTION_SECONDS,
            )
        )
        self._evictions.add(asking)
        asking.add_done_callback(self._on_answer)
        return _eviction(await asyncio.shield(asking), path)

    async def await_answers(self) -> None:
        if self._evictions:
            await asyncio.wait(self._evictions, timeout=_LAST_ANSWERS_SECONDS)

    def _on_answer(self, answer: "asyncio.Future[Answer]") -> None:
        self._evictions.discard(answer)
        if not answer.cancelled():
            # Its error is read here, since the drain that would have read it may have stopped.
            answer.exception()

    async def delete(self, pod: PodRef, grace: dt.timedelta) -> None:
        """Delete a pod with this grace period, whatever its budget; a no-op if it is gone."""
        try:
            await self._api.delete(
                f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}",
                {
                    "apiVersion": "v1",
                    "kind": "DeleteOptions",
                    "gracePeriodSeconds": int(grace.total_seconds()),
                    "preconditions": {"uid": pod.uid},
                },
            )
        except errors.NotFound:
            return
        except errors.Conflict as conflict:
            if not _names_another_pod(str(conflict)):
                raise errors.TemporaryError(str(conflict)) from conflict


def _node_name_of(pod: object) -> str:
    spec = pod.get("spec") if isinstance(pod, dict) else None
    return str(spec.get("nodeName") or "") if isinstance(spec, dict) else ""


def _views(listed: Iterable[object]) -> Iterator[PodView]:
    pods = (pod for pod in listed if isinstance(pod, dict))
    return (view for pod in pods if (view := view_or_none(pod)) is not None)


def view_or_none(pod: JsonObject) -> PodView | None:
    """Return the view of a Pod; one that has another shape costs itself, not a list or a watch."""
    try:
        return view_of(pod)
    except _NOT_A_POD as error:
        metadata = pod.get("metadata")
        _log.warning("pod_not_understood", metadata=str(metadata)[:200], error=repr(error))
        return None


async def _changes(events: AsyncIterator[JsonObject], version: str) -> AsyncIterator[PodChange]:
    """Yield what happens to pods; an object without a version leaves the last one valid."""
    async for event in events:
        pod = event.get("object") or {}
        version = (pod.get("metadata") or {}).get("resourceVersion") or version
        node_name = _node_name_of(pod)
        view = None if event["type"] == "BOOKMARK" else view_or_none(pod)
        if view is None or not node_name:
            yield PodChange(pod=None, version=version)
        else:
            yield PodChange(
                pod=view,
                node_name=NodeName(node_name),
                version=version,
                is_gone=event["type"] == "DELETED",
            )


def _eviction(answer: Answer, path: str) -> Eviction:
    """Read the answer to an eviction.

    https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/#how-api-initiated-eviction-works
    """
    if answer.is_success:
        return Eviction(answer=EvictionAnswer.ACCEPTED)
    message = " ".join([api.message_of(answer), *_explanations(answer)])
    match answer.status:
        case http.HTTPStatus.NOT_FOUND | http.HTTPStatus.CONFLICT:
            verdict = EvictionAnswer.GONE if _is_gone(answer, message) else EvictionAnswer.BUSY
            return Eviction(answer=verdict, message=message)
        case http.HTTPStatus.TOO_MANY_REQUESTS if "DisruptionBudget" in _causes(answer):
            retry_after = api.retry_after_of(answer)
            return Eviction(answer=EvictionAnswer.BLOCKED, message=message, retry_after=retry_after)
        case http.HTTPStatus.INTERNAL_SERVER_ERROR if "PodDisruptionBudget" in message:
            return Eviction(answer=EvictionAnswer.AMBIGUOUS, message=message)
        case http.HTTPStatus.FORBIDDEN if "NamespaceTerminating" in _causes(answer):
            return Eviction(answer=EvictionAnswer.NAMESPACE_TERMINATING, message=message)
        case _:
            raise api.error_of(answer, f"POST {path}")


def _is_gone(answer: Answer, message: str) -> bool:
    """Return True for a 404 about the pod, and for a 409 on our UID precondition.

    An eviction also answers 404 or 409 when the budget, or the pod, was changed meanwhile: that
    does not show that the pod is gone. https://github.com/kubernetes/kubernetes/issues/37605
    """
    if answer.status == http.HTTPStatus.CONFLICT:
        return _names_another_pod(message)
    details = api.status_of(answer).get("details") or {}
    return details.get("kind") != "poddisruptionbudgets"


def _names_another_pod(conflict: str) -> bool:
    return any(words in conflict for words in _OTHER_UID)


def _causes(answer: Answer) -> set[str]:
    details = api.status_of(answer).get("details") or {}
    return {cause.get("reason", "") for cause in details.get("causes") or []}


def _explanations(answer: Answer) -> list[str]:
    """Return the budget that blocks, and what it needs."""
    details = api.status_of(answer).get("details") or {}
    return [cause["message"] for cause in details.get("causes") or [] if cause.get("message")]
