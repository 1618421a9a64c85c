"""Which pods a disruption budget selects, and which budgets select a pod."""

from collections.abc import Iterable, Mapping, Sequence

from queue_processor.simulator.kube import objects, resources, selectors, store

# A namespace with one label and its value; both empty stand for no label at all.
_Anchor = tuple[str, str, str]


class PdbIndex:
    """An index that follows the changes it is told.

    Every budget hangs on one label that its pods must have, so that neither a new pod is
    compared with every budget nor a new budget with every pod.
    """

    def __init__(self, objects_store: store.Store) -> None:
        self._store = objects_store
        self._selectors: dict[store.Key, selectors.LabelSelector] = {}
        self._budgets_at: dict[_Anchor, dict[store.Key, None]] = {}
        self._pods_at: dict[_Anchor, dict[store.Key, None]] = {}
        self._members: dict[store.Key, dict[store.Key, None]] = {}
        self._budgets_of: dict[store.Key, dict[store.Key, None]] = {}

    def pods_of(self, budget: store.Key) -> list[objects.Stored]:
        """The pods that the budget selects."""
        found = (self._store.get(resources.PODS, *key) for key in self._members.get(budget, ()))
        return [pod for pod in found if pod is not None]

    def budgets_of(self, pod: store.Key) -> Sequence[store.Key]:
        """The budgets that select the pod, by name."""
        return sorted(self._budgets_of.get(pod, ()))

    def follow_pod(self, change: store.Change) -> None:
        """Take up a pod that came, went or got other labels."""
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
                    if self._selectors[budget].matches(after.labels):
                        self._join(budget, key)

    def follow_budget(self, change: store.Change) -> None:
        """Take up a budget that came, went or got another selector."""
        before, after = change.before, change.current
        chosen = after.spec.get("selector") if after is not None else None
        if before is not None and before.spec.get("selector") == chosen:
            return
        key = change.after.key
        known = self._selectors.pop(key, None)
        if known is not None:
            self._budgets_at[_anchor(key[0], known)].pop(key, None)
        for pod in self._members.pop(key, {}):
            self._budgets_of[pod].pop(key, None)
        selector = selectors.from_object(chosen)
        if selector is None:
            return
        anchor = _anchor(key[0], selector)
        self._selectors[key] = selector
        self._members[key] = {}
        self._budgets_at.setdefault(anchor, {})[key] = None
        for pod in self._pods_at.get(anchor, ()):
            stored = self._store.get(resources.PODS, *pod)
            if stored is not None and selector.matches(stored.labels):
                self._join(key, pod)

    def _join(self, budget: store.Key, pod: store.Key) -> None:
        self._members[budget][pod] = None
        self._budgets_of.setdefault(pod, {})[budget] = None


def _anchor(namespace: str, selector: selectors.LabelSelector) -> _Anchor:
    for requirement in selector.requirements:
        if requirement.operator is selectors.Operator.IN and len(requirement.values) == 1:
            return (namespace, requirement.key, next(iter(requirement.values)))
    return (namespace, "", "")


def _anchors(namespace: str, labels: Mapping[str, str]) -> Iterable[_Anchor]:
    yield (namespace, "", "")
    for key, value in labels.items():
        yield (namespace, key, value)
