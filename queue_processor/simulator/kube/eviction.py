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

# How long the server tells clients to wait while a budget's status lags behind its spec.
_UNOBSERVED_RETRY_SECONDS = 10
_MAX_DISRUPTED_PODS = 2000
# While no budget counts, the server takes a conflict for a race, and tries again before it answers.
# https://github.com/kubernetes/kubernetes/blob/master/pkg/registry/core/pod/storage/eviction.go
_RETRIES = 19
_RETRY_SECONDS = 0.5


class Evictions:
    """Grants or refuses evictions."""

    def __init__(
        self,
        objects_store: store.Store,
        deletions: deletion.Deletions,
        members: pdb_index.PdbIndex,
    ) -> None:
        self._store = objects_store
        self._deletions = deletions
        self._pdb_index = members

    async def evict(
        self, key: store.Key, body: objects.JsonObject, query: Mapping[str, str], by: store.Actor
    ) -> None:
        """Evict a pod.

        Raises:
            statuses.ApiError: 404 when there is no such pod, 409 when a precondition does not
                hold, 429 when a budget says no, 500 when several budgets select the pod.
        """
        if (body.get("metadata") or {}).get("name", key[1]) != key[1]:
            raise statuses.bad_request("name in URL does not match name in Eviction object")
        options = deletion.parse(body.get("deleteOptions"), query)
        for left in reversed(range(_RETRIES + 1)):
            try:
                with self._store.acting(by):
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
                # As in the real server the budget is charged before the preconditions are read.
                self._charge(budget, pod, dry_run=options.dry_run)
        self._delete(pod, options)

    def _delete(self, pod: objects.Stored, options: deletion.DeleteOptions) -> None:
        deletion.check_preconditions(pod, options)
        if options.dry_run:
            return
        condition = manifests.condition(
            "DisruptionTarget",
            "True",
            self._store.now(),
            reason="EvictionByEvictionAPI",
            message="Eviction API: evicting",
        )
        status = objects.with_conditions(pod.status, condition)
        marked = self._store.update(pod, pod.body | {"status": status})
        # The mark made a new version; the version asked for was checked before it.
        self._deletions.delete(marked, dataclasses.replace(options, version=""))

    def _budget_of(self, pod: objects.Stored) -> objects.Stored | None:
        found = self._pdb_index.budgets_of(pod.key)
        if len(found) > 1:
            raise statuses.several_budgets()
        return self._store.get(resources.BUDGETS, *found[0]) if found else None

    def _charge(self, budget: objects.Stored, pod: objects.Stored, *, dry_run: bool) -> None:
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
        if dry_run:
            return
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
