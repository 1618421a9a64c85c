"""Tells a person what a drill would do: which pods move, and what will not go as they may think."""

import collections
from collections.abc import Iterator, Sequence

from queue_processor.domain import pods
from queue_processor.domain.plan import OutcomeKind
from queue_processor.domain.pods import PodView
from queue_processor.messages import printing
from queue_processor.messages.send import targeting
from queue_processor.messages.send.drill import Selection, Target
from queue_processor.settings import ToolSettings

# More pods than this are counted instead of named; more nodes are summed up.
_NAMED_PODS = 100
_NAMED_NODES = 40


def tell(selection: Selection, settings: ToolSettings) -> None:
    """Say on stderr what would happen, node by node."""
    for line in (*_nodes(selection.targets), *_cautions(selection, settings)):
        printing.note(line)


def moving(selection: Selection) -> int:
    """How many pods would move."""
    return sum(len(target.moving) for target in selection.targets)


def fields(target: Target) -> dict[str, object]:
    """The same about one instance, for programs."""
    return {
        "instance": target.instance_id,
        "node": None if target.node is None else target.node.name,
        **target.known.fields("event_id", "kind", "action", "deadline", "reason"),
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


def _nodes(targets: Sequence[Target]) -> Iterator[str]:
    are_named = sum(len(target.pods) for target in targets) <= _NAMED_PODS
    for target in targets[:_NAMED_NODES]:
        yield f"{target.name}: {_counted(target)}"
        if are_named and target.moving:
            yield f"  move: {' '.join(str(pod.ref) for pod in target.moving)}"
        if are_named and target.staying:
            yield f"  stay: {' '.join(_named_with_reason(pod) for pod in target.staying)}"
        if not are_named and target.moving:
            yield f"  move: {_by_namespace(target.moving)}"
    rest = targets[_NAMED_NODES:]
    if rest:
        yield (
            f"and {len(rest)} more, where {sum(len(each.moving) for each in rest)} pods move and"
            f" {sum(len(each.staying) for each in rest)} stay"
        )
    if rest or not are_named:
        yield "--dry-run --output json names every pod"


def _counted(target: Target) -> str:
    if target.is_drained:
        return f"{len(target.moving)} pods move, {len(target.staying)} stay"
    return f"no pod moves, the action is {target.known.action or 'none'}"


def _named_with_reason(pod: PodView) -> str:
    return f"{pod.ref} ({pods.verdict_on(pod).removeprefix('skip: ')})"


def _by_namespace(found: Sequence[PodView]) -> str:
    counts = collections.Counter(pod.ref.namespace for pod in found)
    return ", ".join(f"{count} in {namespace}" for namespace, count in counts.most_common())


def _cautions(selection: Selection, settings: ToolSettings) -> Iterator[str]:
    if selection.left_out:
        yield f"left out, by the label {targeting.PROTECTED_LABEL}: {' '.join(selection.left_out)}"
    obstacles = list(dict.fromkeys(_obstacles(selection.targets)))
    yield from obstacles[:_NAMED_NODES]
    if len(obstacles) > _NAMED_NODES:
        yield f"and the same about {len(obstacles) - _NAMED_NODES} more"
    event = selection.targets[0].known.event
    if event is None:
        return
    if event.lifecycle_action is not None:
        yield (
            "no group waits for this lifecycle action: that the operator completes it comes to"
            " nothing"
        )
    if (
        event.instance_state is not None
        and event.instance_state.is_final
        and settings.drain.out_of_service_taint
    ):
        yield (
            f"the operator would take an instance for gone that is {event.instance_state}, and put"
            " the out-of-service taint on its node: pods that still run there are deleted by"
            " force, and their volumes detached"
        )


def _obstacles(targets: Sequence[Target]) -> Iterator[str]:
    for target in targets:
        reason = target.known.reason
        if reason is None:
            continue
        match target.known.outcome.kind:
            case OutcomeKind.IGNORED:
                yield f"the operator would ignore it: {reason}"
            case OutcomeKind.RETRY:
                yield f"the operator would leave it in the queue: {reason}"
            case _:
                yield reason


def strangers(selection: Selection) -> Sequence[str]:
    """The instances that run no node of the cluster."""
    return [target.instance_id for target in selection.targets if target.node is None]
