"""Describes what a drill would do: which pods move, and what may surprise."""

import collections
from collections.abc import Iterator, Mapping, Sequence

from queue_processor.domain import nodes, pods
from queue_processor.domain.plan import OutcomeKind
from queue_processor.domain.pods import PodView
from queue_processor.messages.send.targets import Drill, DrillTarget
from queue_processor.settings import ToolSettings

# More pods than this are counted instead of named, and more nodes are summed up.
_NAMED_PODS = 100
_NAMED_NODES = 40


def describe(drill: Drill, settings: ToolSettings) -> Iterator[str]:
    """Yield lines for people: what would happen node by node, then what may surprise."""
    yield from _nodes(drill.targets)
    if drill.left_out:
        yield f"left out, by the label {nodes.PROTECTED_LABEL}: {' '.join(drill.left_out)}"
    reasons = list(dict.fromkeys(_reasons(drill.targets)))
    yield from reasons[:_NAMED_NODES]
    if len(reasons) > _NAMED_NODES:
        yield f"and the same about {len(reasons) - _NAMED_NODES} more"
    yield from _warnings(drill.targets[0], settings)


def fields(target: DrillTarget) -> Mapping[str, object]:
    """Return the same about one instance, for programs."""
    return {
        **target.identity(),
        **target.explanation.fields("event_id", "kind", "action", "deadline", "reason"),
        "pods": [
            {
                "namespace": pod.ref.namespace,
                "name": pod.ref.name,
                "verdict": pods.verdict_on(pod).value,
            }
            for pod in target.pods
        ],
        "body": target.body,
    }


def _nodes(every: Sequence[DrillTarget]) -> Iterator[str]:
    are_named = sum(len(target.pods) for target in every) <= _NAMED_PODS
    for target in every[:_NAMED_NODES]:
        yield f"{target.name}: {_counted(target)}"
        if are_named and target.moving:
            yield f"  move: {' '.join(str(pod.ref) for pod in target.moving)}"
        if are_named and target.staying:
            yield f"  stay: {' '.join(_with_verdict(pod) for pod in target.staying)}"
        if not are_named and target.moving:
            yield f"  move: {_by_namespace(target.moving)}"
    rest = every[_NAMED_NODES:]
    if rest:
        yield (
            f"and {len(rest)} more, where {sum(len(each.moving) for each in rest)} pods move and"
            f" {sum(len(each.staying) for each in rest)} stay"
        )
    if rest or not are_named:
        yield "--dry-run --output json names every pod"


def _counted(target: DrillTarget) -> str:
    if target.is_drained:
        return f"{len(target.moving)} pods move, {len(target.staying)} stay"
    return f"no pod moves, the action is {target.explanation.action or 'none'}"


def _with_verdict(pod: PodView) -> str:
    return f"{pod.ref} ({pods.verdict_on(pod).removeprefix('skip: ')})"


def _by_namespace(every: Sequence[PodView]) -> str:
    counts = collections.Counter(pod.ref.namespace for pod in every)
    return ", ".join(f"{count} in {namespace}" for namespace, count in counts.most_common())


def _reasons(every: Sequence[DrillTarget]) -> Iterator[str]:
    for target in every:
        reason = target.explanation.reason
        if reason is None:
            continue
        match target.explanation.outcome.kind:
            case OutcomeKind.IGNORED:
                yield f"the operator would ignore it: {reason}"
            case OutcomeKind.RETRY:
                yield f"the operator would leave it in the queue: {reason}"
            case _:
                yield reason


def _warnings(target: DrillTarget, settings: ToolSettings) -> Iterator[str]:
    event = target.explanation.event
    if event is None:
        return
    if event.lifecycle_action is not None:
        yield ("no group waits for this lifecycle action: the operator completes it without effect")
    state = event.instance_state
    if state is not None and state.is_final and settings.drain.out_of_service_taint:
        yield (
            f"the operator treats an instance that is {state} as gone, and puts the out-of-service"
            " taint on its node: pods that still run there are deleted by force, and their volumes"
            " detached"
        )
