"""An index of the pods that a disruption budget selects, and of the budgets that select a pod."""

from collections.abc import Iterable, Mapping, Sequence

from queue_processor.domain import selectors
from queue_processor.domain.selectors import LabelSelector
from queue_processor.simulator.kube import objects, resources, store

# A namespace with one label and its value; both are empty for "any label".
_Anchor = tuple[str, str, str]


class PdbIndex:
    """Kept up to date by the changes of pods and budgets.

    Every budget is filed under one label that its pods must have, so that neither a new pod is
    compared with every budget nor a new budget with every pod.
    """

    def __init__(self, objects_store: store.Store) -> None:
        self._store = objects_store
        self._selectors: dict[store.Key, LabelSelector] = {}
        self._budgets_at: dict[_Anchor, dict[store.Key, None]] = {}
        self._pods_at: dict[_Anchor, dict[store.Key, None]] = {}
        self._members: dict[store.Key, dict[store.Key, None]] = {}
        self._budgets_of: dict[store.Key, dict[store.Key, None]] = {}

    def pods_of(self, budget: store.Key) -> list[objects.Stored]:
        """Return the pods that the budget selects."""
        pods = (self._store.get(resources.PODS, *key) for key in self._members.get(budget, ()))
        return [pod for pod in pods if pod is not None]

    def budgets_of(self, pod: store.Key) -> Sequence[store.Key]:
        """Return the budgets that select the pod, by name."""
        return sorted(self._budgets_of.get(pod, ()))

    def follow_pod(self, change: store.Change) -> None:
        """Update the index for a pod that is new, gone or has other labels."""
        before, after = change.before, change.current
        if before is not None and after is not None and before.labels == after.labels:
            return
        key = change.after.key
        if before is not None:
            for anchor in _anchors(before.namespace, before.labels):
                self._pods_at[anchor].pop(key, None)
            for budget in self._budgets_of.pop(key, ()):
                self._members[budget].pop(key, None)
        if after is not None:
            for anchor in _anchors(after.namespace, after.labels):
                self._pods_at.setdefault(anchor, {})[key] = None
                for budget in self._budgets_at.get(anchor, ()):
                    if self._selectors[budget].selects(after.labels):
                        self._join(budget, key)

    def follow_budget(self, change: store.Change) -> None:
        """Update the index for a budget that is new, gone or has another selector."""
        key, old, new = change.after.key, _selector_of(change.before), _selector_of(change.current)
        if old == new:
            return
        if old is not None:
            self._budgets_at[_anchor(key[0], old)].pop(key, None)
            del self._selectors[key]
        for pod in self._members.pop(key, {}):
            self._budgets_of[pod].pop(key, None)
        # A budget without a selector selects nothing, an empty selector everything.
        if new is None:
            return
        anchor, selector = _anchor(key[0], new), selectors.read(new)
        self._selectors[key] = selector
        self._members[key] = {}
        self._budgets_at.setdefault(anchor, {})[key] = None
        for pod in self._pods_at.get(anchor, ()):
            stored = self._store.get(resources.PODS, *pod)
            if stored is not None and selector.selects(stored.labels):
                self._join(key, pod)

    def _join(self, budget: store.Key, pod: store.Key) -> None:
        self._members[budget][pod] = None
        self._budgets_of.setdefault(pod, {})[budget] = None


def _selector_of(budget: objects.Stored | None) -> objects.JsonObject | None:
    return budget.spec.get("selector") if budget is not None else None


def _anchor(namespace: str, selector: objects.JsonObject) -> _Anchor:
    for key, value in (selector.get("matchLabels") or {}).items():
        return (namespace, key, value)
    return (namespace, "", "")


def _anchors(namespace: str, labels: Mapping[str, str]) -> Iterable[_Anchor]:
    yield (namespace, "", "")
    for key, value in labels.items():
        yield (namespace, key, value)
