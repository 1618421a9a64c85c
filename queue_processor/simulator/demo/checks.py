"""The checks at the end of a scenario, each with what was observed."""

import collections
import dataclasses
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet

from queue_processor.simulator.aws import lifecycle
from queue_processor.simulator.demo.results import (
    Observations,
    Spread,
    Summary,
    summarize,
    workload_of,
)
from queue_processor.simulator.demo.scenario import Noise
from queue_processor.simulator.kube import history

_LISTED_NAMES = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One condition, what it expects, and what was observed.

    Attributes:
        label: Its name in a few words, to be read below the name of its group.
    """

    label: str
    name: str
    expected: str
    observed: str
    passed: bool


@dataclasses.dataclass(frozen=True, slots=True)
class CheckGroup:
    """The checks of one subject."""

    name: str
    checks: tuple[Check, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Assessment:
    """The checks of a scenario and its figures."""

    observed: Observations
    groups: tuple[CheckGroup, ...]

    @property
    def checks(self) -> tuple[Check, ...]:
        """List the checks of all groups."""
        return tuple(check for group in self.groups for check in group.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """List the checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def summary(self) -> Summary:
        """Work out the figures."""
        return summarize(self.observed, ok=not self.failed)


def assess(observed: Observations) -> Assessment:
    """Check everything, after the operator was stopped with SIGTERM."""
    groups = {
        "messages": _messages,
        "nodes": _nodes,
        "pods": _pods,
        "lifecycle actions": _lifecycle_actions,
        "operator": _operator,
    }
    return Assessment(
        observed,
        tuple(CheckGroup(name, tuple(check(observed))) for name, check in groups.items()),
    )


def _messages(observed: Observations) -> Iterator[Check]:
    plan = observed.scenario
    yield _count(
        "all came",
        "every message came into the queue, or onto its Node",
        plan.message_count,
        len(observed.messages),
    )
    yield _count("none is left", "no message is left there", 0, observed.left)
    settled = plan.message_count - plan.malformed_count
    yield _count("all settled", "every message was settled", settled, observed.settled_count)
    malformed = sorted(
        record.body
        for sent in observed.sent
        if sent.planned.kind is Noise.MALFORMED
        for record in observed.copies_of(sent)
    )
    letters = observed.dead_letters
    yield Check(
        "malformed dead-lettered",
        "malformed messages are in the dead-letter queue, and nothing else is",
        f"{plan.malformed_count} malformed",
        f"{len(letters)}: {_list(repr(body[:40]) for body in letters)}",
        sorted(letters) == malformed and len(malformed) == plan.malformed_count,
    )
    finished = _finished_at(observed)
    yield _none(
        "deleted last",
        "a message is deleted only when its nodes are done",
        (
            f"{sent.planned.label} of {', '.join(sent.planned.nodes)}"
            for sent in observed.sent
            for record in observed.copies_of(sent)
            if any(_is_before(record.deleted_at, finished.get(n)) for n in sent.planned.nodes)
        ),
    )


def _nodes(observed: Observations) -> Iterator[Check]:
    lines = observed.timelines
    interrupted = {line.node for line in lines}
    drained = {line.node for line in lines if line.drained_at is not None}
    yield _same(
        "the right ones cordoned",
        "the interrupted nodes were cordoned, and no others",
        interrupted,
        observed.cordons.keys(),
    )
    yield _same("still cordoned", "they stay cordoned", interrupted, observed.unschedulable)
    yield _same("drained", "they are drained", interrupted, drained)
    limit = observed.scenario.cordon_limit_seconds
    p99 = Spread.of(line.cordon_seconds for line in lines).p99
    yield Check(
        "cordoned at once",
        "nodes are cordoned at once (p99)",
        f"at most {limit} s",
        f"{p99} s",
        p99 is not None and p99 <= limit,
    )
    yield _none(
        "in time",
        "nodes are drained before their deadlines",
        (
            line.node
            for line in lines
            if line.deadline is not None
            and (line.drained_at is None or line.drained_at > line.deadline)
        ),
    )


def _pods(observed: Observations) -> Iterator[Check]:
    yield _none(
        "budgets kept",
        "budgets are kept until a deadline is near",
        (f"{loss.pod} ({loss.cause.value})" for loss in observed.violations),
    )
    deleted = [workload_of(pod) for pod in observed.deleted_at_deadline]
    blocked = observed.scenario.blocked_pods
    expected = [name for name, count in blocked.items() for _ in range(count)]
    yield Check(
        "deleted only where blocked",
        "only pods whose budget never allows an eviction are deleted at the deadline",
        _list(expected),
        _list(deleted),
        sorted(deleted) == sorted(expected),
    )
    yield _none(
        "evicted once",
        "no pod is evicted twice",
        (
            f"{pod} ({count} times)"
            for pod, count in collections.Counter(
                each.pod for each in observed.evictions if each.is_granted
            ).items()
            if count > 1
        ),
    )
    yield _none(
        "SIGTERM and time to exit",
        "every pod that moved got its SIGTERM and the time to exit",
        (
            f"{pod.name} ({pod.termination.value if pod.termination else 'still there'})"
            for line in observed.timelines
            for pod in line.pods
            # A pod that has not started has nothing to end.
            if pod.termination is not history.PodTermination.EXITED
            or (pod.ready and not pod.signalled)
        ),
    )
    staying = [pod for pod in observed.pods if pod.node not in observed.scenario.interrupted]
    yield _none(
        "others stay",
        "pods on other nodes stay, and so do those of the DaemonSet",
        (pod.name for pod in (*staying, *observed.agents) if pod.removal_requested is not None),
    )
    yield _none(
        "replaced",
        "every workload is complete again",
        (
            f"{workload.name}: {observed.ready.get(workload.name, 0)} of {workload.replicas}"
            for workload in observed.scenario.workloads
            if observed.ready.get(workload.name, 0) != workload.replicas
        ),
    )


def _lifecycle_actions(observed: Observations) -> Iterator[Check]:
    yield _count(
        "one for each hook",
        "every lifecycle hook held up one instance",
        len(observed.scenario.held_up),
        len(observed.actions),
    )
    yield _none(
        "completed",
        "every lifecycle action was completed with CONTINUE",
        (
            f"{action.instance_id} at {action.hook.name}"
            for action in observed.actions
            if action.ending is not lifecycle.LifecycleActionEnding.COMPLETED
            or action.result is not lifecycle.LifecycleActionResult.CONTINUE
        ),
    )
    finished = _finished_at(observed)
    nodes = {sent.mark: node for sent in observed.sent for node in sent.planned.nodes}
    yield _none(
        "completed last",
        "no lifecycle action was completed before its node was done",
        (
            f"{action.instance_id} at {action.hook.name}"
            for action in observed.actions
            if _is_before(action.completed_at, finished.get(nodes.get(action.token, "")))
        ),
    )


def _operator(observed: Observations) -> Iterator[Check]:
    exit_code, holder = observed.exit_code, observed.lease_holder
    yield Check(
        "stops on SIGTERM",
        "the operator stops on SIGTERM",
        "exit code 0",
        "no exit code" if exit_code is None else f"exit code {exit_code}",
        exit_code == 0,
    )
    yield Check(
        "Lease released", "the Lease is released", "no holder", holder or "no holder", not holder
    )


def _finished_at(observed: Observations) -> Mapping[str, dt.datetime | None]:
    """Return when each node was drained, or Ready if it was launched."""
    return {line.node: line.drained_at for line in observed.timelines} | dict(observed.ready_at)


def _is_before(moment: dt.datetime | None, finished: dt.datetime | None) -> bool:
    return moment is not None and (finished is None or moment < finished)


def _count(label: str, name: str, expected: int, observed: int) -> Check:
    return Check(label, name, str(expected), str(observed), expected == observed)


def _same(label: str, name: str, expected: AbstractSet[str], observed: AbstractSet[str]) -> Check:
    missing, surplus = sorted(expected - observed), sorted(observed - expected)
    differences = [f"missing {_list(missing)}"] * bool(missing)
    differences += [f"besides {_list(surplus)}"] * bool(surplus)
    return Check(
        label,
        name,
        f"{len(expected)} nodes",
        ", ".join(differences) or f"{len(observed)} nodes",
        not differences,
    )


def _none(label: str, name: str, exceptions: Iterable[str]) -> Check:
    names = list(exceptions)
    return Check(label, name, "no exception", _list(names), not names)


def _list(names: Iterable[str]) -> str:
    every = list(names)
    listed = ", ".join(every[:_LISTED_NAMES]) or "none"
    more = len(every) - _LISTED_NAMES
    return f"{listed} and {more} more" if more > 0 else listed
