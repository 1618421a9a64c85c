"""The subresource ``pods/eviction``: a deletion that asks the disruption budgets first.

https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
"""

import asyncio
import dataclasses
import http
from collections.abc import Mapping

from queue_processor.simulator.kube import (
    clock,
    deletion,
    manifests,
    objects,
    pdb_index,
    resources,
    statuses,
    store,
)

# The Retry-After while the status of a budget lags behind its spec.
_UNOBSERVED_RETRY_SECONDS = 10
_MAX_DISRUPTED_PODS = 2000
# For a pod that needs no budget, the server treats a conflict as a race and retries.
# https://github.com/kubernetes/kubernetes/blob/master/pkg/registry/core/pod/storage/eviction.go
_RETRIES = 19
_RETRY_SECONDS = 0.5


class Evictions:
    """Serves ``pods/eviction``."""

    def __init__(
        self,
        objects_store: store.Store,
        deletions: deletion.Deletions,
        budgets: pdb_index.PdbIndex,
    ) -> None:
        self._store = objects_store
        self._deletions = deletions
        self._pdb_index = budgets

    async def evict(
        self, key: store.Key, body: objects.JsonObject, query: Mapping[str, str], actor: store.Actor
    ) -> None:
        """Evict a pod.

        Raises:
            statuses.ApiError: 404 without such a pod, 409 if a precondition does not hold,
                429 if a budget does not allow it, 500 if several budgets select the pod.
        """
        if (body.get("metadata") or {}).get("name", key[1]) != key[1]:
            raise statuses.bad_request("name in URL does not match name in Eviction object")
        options = deletion.parse(body.get("deleteOptions") or {}, query)
        for left in reversed(range(_RETRIES + 1)):
            try:
                with self._store.acting(actor):
                    self._try(key, options)
            except statuses.ApiError as error:
                if not left or not self._may_be_race(error, key, options):
                    raise
            else:
                return
            await asyncio.sleep(_RETRY_SECONDS)

    def _may_be_race(
        self, error: statuses.ApiError, key: store.Key, options: deletion.DeleteOptions
    ) -> bool:
        pod = self._store.get(resources.PODS, *key)
        is_conflict = error.code == http.HTTPStatus.CONFLICT and not options.version
        return is_conflict and pod is not None and _needs_no_budget(pod)

    def _try(self, key: store.Key, options: deletion.DeleteOptions) -> None:
        pod = self._store.get(resources.PODS, *key)
        if pod is None:
            raise statuses.not_found(resources.PODS, key[1])
        if not _needs_no_budget(pod):
            budget = self._budget_of(pod)
            if budget is not None and not _is_harmless(pod, budget):
                # Like the real server: the budget is charged before the preconditions are checked.
                self._charge(budget, pod)
        self._delete(pod, options)

    def _delete(self, pod: objects.Stored, options: deletion.DeleteOptions) -> None:
        deletion.check_preconditions(pod, options)
        condition = manifests.condition(
            "DisruptionTarget",
            "True",
            self._store.now(),
            reason="EvictionByEvictionAPI",
            message="Eviction API: evicting",
        )
        status = objects.with_conditions(pod.status, condition)
        marked = self._store.update(pod, pod.body | {"status": status})
        # The condition made a new version; the precondition is checked already.
        self._deletions.delete(marked, dataclasses.replace(options, version=""))

    def _budget_of(self, pod: objects.Stored) -> objects.Stored | None:
        keys = self._pdb_index.budgets_of(pod.key)
        if len(keys) > 1:
            raise statuses.several_budgets()
        return self._store.get(resources.BUDGETS, *keys[0]) if keys else None

    def _charge(self, budget: objects.Stored, pod: objects.Stored) -> None:
        status = budget.status
        if status.get("observedGeneration", 0) < budget.metadata.get("generation", 0):
            why = f"The disruption budget {budget.name} is still being processed by the server."
            raise statuses.budget_exhausted(why, _UNOBSERVED_RETRY_SECONDS)
        disrupted = status.get("disruptedPods") or {}
        if len(disrupted) > _MAX_DISRUPTED_PODS:
            raise statuses.budget_overrun(budget.name)
        allowed = status.get("disruptionsAllowed", 0)
        if allowed <= 0:
            raise statuses.budget_exhausted(_why_exhausted(budget))
        changed = status | {
            "disruptionsAllowed": allowed - 1,
            "disruptedPods": disrupted | {pod.name: clock.stamp(self._store.now())},
        }
        if allowed == 1:
            changed = objects.with_conditions(
                changed, manifests.budget_condition(budget, 0, self._store.now())
            )
        self._store.update(budget, budget.body | {"status": changed})


def _needs_no_budget(pod: objects.Stored) -> bool:
    phase = pod.status.get("phase")
    return objects.is_finished(pod) or phase == "Pending" or pod.is_terminating


def _is_harmless(pod: objects.Stored, budget: objects.Stored) -> bool:
    if objects.is_ready(pod):
        return False
    if budget.spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    desired = budget.status.get("desiredHealthy", 0)
    return bool(budget.status.get("currentHealthy", 0) >= desired > 0)


def _why_exhausted(budget: objects.Stored) -> str:
    status = budget.status
    condition = objects.condition(status.get("conditions"), "DisruptionAllowed") or {}
    healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    if condition.get("reason") == "SyncFailed":
        why = (
            "does not allow evicting pods currently because it failed sync:"
            f" {condition.get('message', '')}"
        )
    elif healthy <= desired:
        why = f"needs {desired} healthy pods and has {healthy} currently"
    else:
        why = "does not allow evicting pods currently"
    return f"The disruption budget {budget.name} {why}"
