"""The mark of a node as the API server has it: annotations, label and taints, read and written.

People, other programs and older versions of this one can write annotations, too. What cannot be
understood costs itself: the other holds stay, and those that are missing are rebuilt from taints.
"""

import dataclasses
import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal

import pydantic
from pydantic import alias_generators

from queue_processor.adapters.kube.transport import JsonObject
from queue_processor.domain import holds, nodes
from queue_processor.domain.deadlines import Deadline
from queue_processor.domain.events import EventKind
from queue_processor.domain.holds import Hold
from queue_processor.domain.nodes import Mark, MarkScope, NodeView
from queue_processor.domain.plan import Action, InstanceResult

_LONGEST_TEXT = 64 * 1024
_ANNOTATIONS = (
    nodes.EVENT_ID_ANNOTATION,
    nodes.KIND_ANNOTATION,
    nodes.DEADLINE_ANNOTATION,
    nodes.HOLDS_ANNOTATION,
    nodes.CORDONED_ANNOTATION,
    nodes.EXCLUDED_ANNOTATION,
    nodes.OUT_OF_SERVICE_ANNOTATION,
)
# Times far from ours overflow when something is added to them.
_FIRST_YEAR, _LAST_YEAR = 2000, 2200
_LONG_AGO = dt.datetime(_FIRST_YEAR, 1, 1, tzinfo=dt.UTC)


def _in_our_time(moment: dt.datetime) -> dt.datetime:
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError("too far from the present")
    return moment.astimezone(dt.UTC)


_Moment = Annotated[pydantic.AwareDatetime, pydantic.AfterValidator(_in_our_time)]
_Text = Annotated[str, pydantic.Field(min_length=1, max_length=512)]


class _HoldRecord(pydantic.BaseModel):
    """A hold in the annotation."""

    model_config = pydantic.ConfigDict(
        alias_generator=alias_generators.to_camel, populate_by_name=True
    )

    id: _Text
    event_id: _Text
    kind: EventKind
    action: Literal[Action.CORDON, Action.CORDON_AND_DRAIN]
    occurred_at: _Moment
    since: _Moment
    deadline: _Moment
    is_hard: bool
    instance_ends_at: _Moment | None = None
    is_instance_gone: bool = False
    result: InstanceResult | None = None

    def hold(self) -> Hold:
        return Hold(
            id=self.id,
            event_id=self.event_id,
            kind=self.kind,
            action=self.action,
            occurred_at=self.occurred_at,
            since=self.since,
            deadline=Deadline(
                at=self.deadline, is_hard=self.is_hard, instance_ends_at=self.instance_ends_at
            ),
            is_instance_gone=self.is_instance_gone,
            result=self.result,
        )

    @staticmethod
    def of(hold: Hold) -> JsonObject:
        # Not by asdict, which copies deeply.
        fields = {
            **{each.name: getattr(hold, each.name) for each in dataclasses.fields(hold)},
            "deadline": hold.deadline.at,
            "is_hard": hold.deadline.is_hard,
            "instance_ends_at": hold.deadline.instance_ends_at,
        }
        # Not validated: what we made is right, and people may have set the clock.
        return _HoldRecord.model_construct(**fields).model_dump(
            mode="json", by_alias=True, exclude_defaults=True
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReadHolds:
    """The holds of a node.

    Attributes:
        are_damaged: Some of the annotation could not be understood.
    """

    holds: tuple[Hold, ...]
    are_damaged: bool


def read_holds(annotations: Mapping[str, str], taint_keys: frozenset[str]) -> ReadHolds:
    """Read the holds of a node, and rebuild those that only its taints show."""
    text = annotations.get(nodes.HOLDS_ANNOTATION)
    records = [] if text is None else list(_records(text))
    read = [record.hold() for record in records if record is not None]
    are_damaged = None in records
    shown = {kind for kind in EventKind if nodes.taint_key(kind) in taint_keys}
    if text is None or are_damaged:
        # A mark has no taint where a policy refuses it.
        shown |= {kind for kind in EventKind if kind == annotations.get(nodes.KIND_ANNOTATION)}
    missing = sorted(shown - {hold.kind for hold in read})
    rebuilt = [_rebuilt(kind, annotations) for kind in missing]
    return ReadHolds(holds=holds.merge(rebuilt, read), are_damaged=are_damaged)


def _records(text: str) -> Iterator[_HoldRecord | None]:
    """Yield the records of an annotation; None for what cannot be understood."""
    try:
        loaded = json.loads(text) if len(text) <= _LONGEST_TEXT else None
    except (ValueError, RecursionError):
        loaded = None
    if not isinstance(loaded, list):
        yield None
        return
    for each in loaded:
        try:
            yield _HoldRecord.model_validate(each)
        except pydantic.ValidationError:
            yield None


def _rebuilt(kind: EventKind, annotations: Mapping[str, str]) -> Hold:
    """Return a hold of which only the kind is certain: it keeps the node, and asks for no work."""
    event_id = annotations.get(nodes.EVENT_ID_ANNOTATION)
    is_ruling = annotations.get(nodes.KIND_ANNOTATION) == kind
    return Hold(
        id=kind.value,
        event_id=event_id if is_ruling and event_id else "unknown",
        kind=kind,
        action=Action.CORDON,
        occurred_at=_LONG_AGO,
        since=_LONG_AGO,
        deadline=Deadline(at=_LONG_AGO, is_hard=False),
        result=InstanceResult.CORDONED,
    )


def patch_of(mark: Mark, node: NodeView) -> JsonObject:
    """Return the patch that puts a mark on a node, or takes it off where the mark is empty."""
    if not mark.holds:
        return _to_restore(mark, node)
    if mark.scope is MarkScope.CORDON_ALONE:
        return {"metadata": {}, "spec": {"unschedulable": True}}
    return _to_mark(mark, node)


def holds_annotation(held: Iterable[Hold]) -> dict[str, str]:
    """Return the annotation that the holds are written in."""
    text = json.dumps([_HoldRecord.of(hold) for hold in held], separators=(",", ":"))
    return {nodes.HOLDS_ANNOTATION: text}


def _to_mark(mark: Mark, node: NodeView) -> JsonObject:
    annotations: dict[str, str | None] = {**holds_annotation(mark.holds)}
    if mark.ruling is not None:
        annotations |= {
            nodes.EVENT_ID_ANNOTATION: mark.ruling.event_id,
            nodes.KIND_ANNOTATION: mark.ruling.kind.value,
            nodes.DEADLINE_ANNOTATION: mark.ruling.deadline.at.isoformat(),
        }
    metadata: JsonObject = {"annotations": annotations}
    if not node.is_unschedulable:
        annotations[nodes.CORDONED_ANNOTATION] = "true"
    if not node.is_excluded:
        annotations[nodes.EXCLUDED_ANNOTATION] = "true"
        metadata["labels"] = {nodes.EXCLUDE_FROM_LOAD_BALANCERS_LABEL: "true"}
    if node.is_ready and node.is_out_of_service_by_us:
        annotations[nodes.OUT_OF_SERVICE_ANNOTATION] = None
    spec: JsonObject = {"unschedulable": True}
    taints = mark.taints_on(node)
    if taints != node.taints:
        spec["taints"] = taints_of(taints)
    return {"metadata": metadata, "spec": spec}


def _to_restore(mark: Mark, node: NodeView) -> JsonObject:
    metadata: JsonObject = {"annotations": dict.fromkeys(_ANNOTATIONS)}
    if node.is_excluded_by_us:
        metadata["labels"] = {nodes.EXCLUDE_FROM_LOAD_BALANCERS_LABEL: None}
    spec: JsonObject = {"taints": taints_of(mark.taints_on(node))}
    if node.is_cordoned_by_us:
        spec["unschedulable"] = None
    return {"metadata": metadata, "spec": spec}


def taints_of(taints: Iterable[nodes.Taint]) -> list[JsonObject]:
    """Return taints as the API takes them.

    A patch, a strategic one too, replaces the whole list: the schema gives it no merge
    key. So every such write holds only for the version that it was made from.
    """
    return [
        {
            name: value
            for name, value in (
                ("key", taint.key),
                ("value", taint.value),
                ("effect", taint.effect),
                ("timeAdded", taint.added_at),
            )
            if value is not None
        }
        for taint in taints
    ]
