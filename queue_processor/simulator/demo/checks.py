"""What has to be true at the end of a rehearsal."""

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence

from queue_processor.simulator.aws import lifecycle, records
from queue_processor.simulator.demo import evidence, scenario, score
from queue_processor.simulator.kube import history

CORDON_LIMIT_SECONDS = 1.5
_SHOWN = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is about.
        expected: What has to be.
        found: What is.
        passed: Whether that is the same.
    """

    name: str
    expected: str
    found: str
    passed: bool


def of_the_work(known: evidence.Evidence) -> tuple[Check, ...]:
    """Everything but the end of the operator."""
    told = evidence.stories(known)
    return (
        *_of_messages(known, told),
        *_of_nodes(known, told),
        *_of_pods(known, told),
        *_of_lifecycle_actions(known, told),
    )


def of_the_end(known: evidence.Evidence) -> tuple[Check, ...]:
    """The end of the operator, after SIGTERM."""
    return (
        Check(
            "the operator stops when asked to",
            "exit code 0",
            "killed" if known.exit_code is None else f"exit code {known.exit_code}",
            known.exit_code == 0,
        ),
        Check(
            "the Lease is handed back",
            "no holder",
            known.lease_holder or "no holder",
            not known.lease_holder,
        ),
    )


def _of_messages(known: evidence.Evidence, told: Sequence[evidence.NodeStory]) -> Iterable[Check]:
    plan = known.scenario
    yield _count("every message came into the queue", plan.messages, len(known.messages))
    yield _count("the queue is empty", 0, known.left)
    yield _count(
        "every message was settled", plan.messages - plan.malformed, score.settled_messages(known)
    )
    malformed = sorted(
        record.body
        for sent in known.sent
        if sent.sending.kind.expectation is scenario.Expectation.DEAD_LETTER
        for record in known.messages_of(sent)
    )
    yield Check(
        "what is malformed lies in the dead-letter queue, and nothing else",
        f"{plan.malformed} malformed",
        f"{len(known.dead_letters)}: {_list(repr(body[:40]) for body in known.dead_letters)}",
        sorted(known.dead_letters) == malformed and len(malformed) == plan.malformed,
    )
    ends = _ends_of_work(known, told)
    yield _none(
        "a message is deleted only when its nodes are done",
        (
            f"{sent.sending.kind.value} of {', '.join(sent.sending.nodes)}"
            for sent in known.sent
            for record in known.messages_of(sent)
            if _is_early(record, [ends.get(node) for node in sent.sending.nodes])
        ),
    )


def _ends_of_work(
    known: evidence.Evidence, told: Sequence[evidence.NodeStory]
) -> Mapping[str, dt.datetime | None]:
    return {story.node: story.drained_at for story in told} | dict(known.ready_at)


def _is_early(record: records.MessageRecord, ends: Sequence[dt.datetime | None]) -> bool:
    deleted_at = record.deleted_at
    return deleted_at is not None and any(end is None or deleted_at < end for end in ends)


def _of_nodes(known: evidence.Evidence, told: Sequence[evidence.NodeStory]) -> Iterable[Check]:
    wanted = set(known.scenario.interrupted)
    yield _same("the interrupted nodes were cordoned, and no others", wanted, set(known.cordons))
    yield _same("they stay cordoned", wanted, known.unschedulable)
    yield _same(
        "they are drained", wanted, {story.node for story in told if story.drained_at is not None}
    )
    slowest = score.spread(
        score.seconds_between(story.counts_from, story.cordoned_at) for story in told
    )
    yield Check(
        "nodes are cordoned at once (p99)",
        f"at most {CORDON_LIMIT_SECONDS} s",
        f"{slowest.p99} s",
        slowest.p99 is not None and slowest.p99 <= CORDON_LIMIT_SECONDS,
    )
    yield _none(
        "nodes are drained before their deadlines",
        (
            story.node
            for story in told
            if story.deadline is not None
            and (story.drained_at is None or story.drained_at > story.deadline)
        ),
    )


def _of_pods(known: evidence.Evidence, told: Sequence[evidence.NodeStory]) -> Iterable[Check]:
    yield _none(
        "budgets are kept until a deadline is near",
        (f"{loss.pod} ({loss.cause.value})" for loss in score.violations(known)),
    )
    deleted = [pod.name.rpartition("-")[0] for pod in score.deleted_at_deadline(known)]
    expected = [name for name, count in known.scenario.blocked_pods.items() for _ in range(count)]
    yield Check(
        "only pods whose budget never lets them go are deleted at the deadline",
        _list(expected),
        _list(deleted),
        sorted(deleted) == sorted(expected),
    )
    yield _none(
        "every pod that moved had its SIGTERM and the time to exit",
        (
            f"{pod.name} ({pod.termination.value if pod.termination else 'still there'})"
            for story in told
            for pod in story.pods
            if not _ended_well(pod)
        ),
    )
    interrupted = set(known.scenario.interrupted)
    yield _none(
        "pods on other nodes stay, and so do those of the DaemonSet",
        (
            pod.name
            for pod in (*known.pods, *known.agents)
            if pod.removal_requested is not None
            and (pod in known.agents or pod.node not in interrupted)
        ),
    )
    yield _none(
        "every workload is complete again",
        (
            f"{workload.name}: {known.ready.get(workload.name, 0)} of {workload.replicas}"
            for workload in known.scenario.workloads
            if known.ready.get(workload.name, 0) != workload.replicas
        ),
    )


def _ended_well(pod: history.PodRecord) -> bool:
    # What had not started yet has nothing to end.
    return pod.termination is history.PodTermination.EXITED and (
        pod.signalled is not None or pod.ready is None
    )


def _of_lifecycle_actions(
    known: evidence.Evidence, told: Sequence[evidence.NodeStory]
) -> Iterable[Check]:
    held = {
        node
        for sending in known.scenario.sendings
        if sending.kind in (scenario.Kind.TERMINATION, scenario.Kind.LAUNCH)
        for node in sending.nodes
    }
    yield _count("every lifecycle hook held up one instance", len(held), len(known.actions))
    yield _none(
        "every lifecycle action was completed with CONTINUE",
        (
            f"{action.instance_id} at {action.hook.name}"
            for action in known.actions
            if action.ending is not lifecycle.LifecycleActionEnding.COMPLETED
            or action.result is not lifecycle.LifecycleActionResult.CONTINUE
        ),
    )
    ends = _ends_of_work(known, told)
    nodes = {
        sent.mark: node
        for sent in known.sent
        if sent.sending.kind in (scenario.Kind.TERMINATION, scenario.Kind.LAUNCH)
        for node in sent.sending.nodes
    }
    yield _none(
        "no lifecycle action was completed before its node was done",
        (
            f"{action.instance_id} at {action.hook.name}"
            for action in known.actions
            if _is_premature(action, ends.get(nodes.get(action.token, "")))
        ),
    )


def _is_premature(action: lifecycle.SimulatedLifecycleAction, end: dt.datetime | None) -> bool:
    return action.completed_at is not None and (end is None or action.completed_at < end)


def _count(name: str, expected: int, found: int) -> Check:
    return Check(name, str(expected), str(found), expected == found)


def _same(name: str, expected: set[str], found: set[str] | frozenset[str]) -> Check:
    missing, surplus = sorted(expected - found), sorted(found - expected)
    differences = [f"missing {_list(missing)}"] * bool(missing)
    differences += [f"besides {_list(surplus)}"] * bool(surplus)
    return Check(
        name,
        f"{len(expected)} nodes",
        ", ".join(differences) or f"{len(found)} nodes",
        expected == found,
    )


def _none(name: str, exceptions: Iterable[str]) -> Check:
    found = list(exceptions)
    return Check(name, "no exception", _list(found), not found)


def _list(names: Iterable[str]) -> str:
    every = list(names)
    shown = ", ".join(every[:_SHOWN]) or "none"
    return shown if len(every) <= _SHOWN else f"{shown} and {len(every) - _SHOWN} more"
