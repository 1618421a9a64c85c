"""Pods with the PodDisruptionBudgets that decide about their evictions, without an eviction.

The API server asks the budgets in the subresource `pods/eviction`. The rules here are the same:
https://github.com/kubernetes/kubernetes/blob/master/pkg/registry/core/pod/storage/eviction.go
"""

import asyncio
import dataclasses
from collections.abc import Iterable, Sequence

from queue_processor.adapters.kube import pods
from queue_processor.adapters.kube.api import KubeApi, ready_condition
from queue_processor.adapters.kube.transport import JsonObject
from queue_processor.domain import errors, selectors
from queue_processor.domain.forecast import DisruptionBudget, GuardedPod
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.selectors import LabelSelector

_BUDGETS = "/apis/policy/v1/poddisruptionbudgets"
# Out of the API server's cache.
_CACHED = {"resourceVersion": "0"}


@dataclasses.dataclass(frozen=True, slots=True)
class _Guard:
    """A budget with what decides whether it is asked.

    Attributes:
        admits_unready: A pod that is not Ready may go, whatever the budget allows.
    """

    budget: DisruptionBudget
    selector: LabelSelector
    admits_unready: bool

    def selects(self, pod: JsonObject) -> bool:
        """Return True if the pod is one of the budget's."""
        metadata = pod["metadata"]
        is_near = metadata["namespace"] == self.budget.namespace
        return is_near and self.selector.selects(metadata.get("labels") or {})


class KubeGuardedPods:
    """Pods and budgets on the API server."""

    def __init__(self, kube: KubeApi) -> None:
        self._api = kube

    async def on_node(self, name: NodeName) -> Sequence[GuardedPod]:
        listed, guards = await asyncio.gather(
            self._api.list(pods.PODS, query={"fieldSelector": f"spec.nodeName={name}", **_CACHED}),
            self._guards(),
        )
        return [
            GuardedPod(pod=view, budgets=tuple(_budgets_of(pod, guards)))
            for pod in listed["items"]
            if (view := pods.view_or_none(pod)) is not None
        ]

    async def _guards(self) -> Sequence[_Guard]:
        try:
            return [
                _guard_of(budget)
                async for page in self._api.pages(_BUDGETS, query=_CACHED)
                for budget in page["items"]
                # One without a selector selects nothing, one with an empty selector everything.
                if budget["spec"].get("selector") is not None
            ]
        except errors.WatchExpired as expired:
            raise errors.TemporaryError(str(expired)) from expired


def _guard_of(budget: JsonObject) -> _Guard:
    metadata, spec, status = budget["metadata"], budget["spec"], budget.get("status") or {}
    desired = status.get("desiredHealthy", 0)
    is_observed = status.get("observedGeneration", 0) >= metadata.get("generation", 0)
    return _Guard(
        budget=DisruptionBudget(
            namespace=metadata["namespace"],
            name=metadata["name"],
            allowed=status.get("disruptionsAllowed", 0) if is_observed else 0,
        ),
        selector=selectors.read(spec["selector"]),
        admits_unready=spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
        or status.get("currentHealthy", 0) >= desired > 0,
    )


def _budgets_of(pod: JsonObject, guards: Iterable[_Guard]) -> Sequence[DisruptionBudget]:
    """Return the budgets that the API server asks before it evicts a pod."""
    if (pod.get("status") or {}).get("phase") == "Pending":
        return ()
    selecting = [guard for guard in guards if guard.selects(pod)]
    match selecting:
        case [guard] if guard.admits_unready and ready_condition(pod).get("status") != "True":
            return ()
        case _:
            return [guard.budget for guard in selecting]
