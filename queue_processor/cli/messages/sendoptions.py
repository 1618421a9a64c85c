"""Reads what a person asked of a drill, before anybody is asked about it."""

import dataclasses
import datetime as dt
from collections.abc import Mapping

from queue_processor.adapters.aws import eventbus
from queue_processor.domain import errors, identifiers, selectors
from queue_processor.domain.event_builder import ChangeStatus, EventOptions
from queue_processor.domain.events import EventKind, InstanceState, LifecycleHook
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.targeting import Wanted
from queue_processor.maintenance import pacing

_STORM = dt.timedelta(seconds=30)
# Every kubelet puts it on its node.
_EVERY_NODE = "kubernetes.io/hostname"
_LIFECYCLE = ("group", "hook")
_NEEDED: Mapping[EventKind, tuple[str, ...]] = {
    EventKind.STATE_CHANGE: ("state",),
    EventKind.AUTOSCALING_TERMINATION: _LIFECYCLE,
    EventKind.AUTOSCALING_LAUNCH: _LIFECYCLE,
}
_POSSIBLE: Mapping[EventKind, tuple[str, ...]] = {
    **_NEEDED,
    EventKind.SCHEDULED_CHANGE: ("starts_in", "status"),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The options that say more about an event; None for those that were not given."""

    state: InstanceState | None
    group: str | None
    hook: str | None
    starts_in: str | None
    status: ChangeStatus | None


def wanted(
    instances: list[str] | None, nodes: list[str] | None, selector: str | None, count: int | None
) -> Wanted:
    """Which nodes are meant.

    Raises:
        UsageError: They are named in no way, or in more than one, or not as they can be.
    """
    if sum((bool(instances), bool(nodes), selector is not None)) != 1:
        raise errors.UsageError("name the nodes in one way: --instance, --node or --selector")
    if selector is not None:
        return Wanted(selector=_selector(selector), count=count)
    return Wanted(
        instance_ids=tuple(_instance_id(text) for text in instances or ()),
        node_names=tuple(NodeName(name) for name in nodes or ()),
        count=count,
    )


def _selector(text: str) -> selectors.LabelSelector:
    if not text.strip():
        raise errors.UsageError(
            f"the selector is empty; if every node is meant, write --selector {_EVERY_NODE}"
        )
    try:
        return selectors.parse(text)
    except errors.ConfigurationError as error:
        raise errors.UsageError(str(error)) from error


def _instance_id(text: str) -> InstanceId:
    found = identifiers.parse_instance_id(text)
    if found is None:
        raise errors.UsageError(f"{text!r} is no instance id such as i-0123456789abcdef0")
    return found


def particulars(kind: EventKind, given: Given) -> EventOptions:
    """What the events say beside their instances.

    Raises:
        UsageError: The kind needs more, or does not say that.
    """
    for field in dataclasses.fields(given):
        option, value = f"--{field.name.replace('_', '-')}", getattr(given, field.name)
        if not value and field.name in _NEEDED.get(kind, ()):
            raise errors.UsageError(f"{kind} needs {option}; --help says what it is")
        if value is not None and field.name not in _POSSIBLE.get(kind, ()):
            raise errors.UsageError(f"{option} says nothing about {kind}; leave it out")
    plain = EventOptions(state=given.state)
    if given.group and given.hook:
        plain = dataclasses.replace(plain, hook=LifecycleHook(group=given.group, name=given.hook))
    if given.starts_in is not None:
        plain = dataclasses.replace(plain, starts_in=pacing.span(given.starts_in))
    if given.status is not None:
        plain = dataclasses.replace(plain, status=given.status)
    return plain


def lasting(spread: str | None, *, is_storm: bool) -> dt.timedelta:
    """Over which time events are sent; zero means at once.

    Raises:
        UsageError: It is no time.
    """
    if spread is not None:
        return pacing.span(spread)
    return _STORM if is_storm else dt.timedelta()


def check_source(source: str | None, event_bus: str | None) -> None:
    """Refuse what AWS would refuse.

    Raises:
        UsageError: The source belongs to AWS, or there is no bus that it is for.
    """
    if source is None:
        return
    if event_bus is None:
        raise errors.UsageError("--source is for events on a bus: name it with --event-bus")
    if not source or source.startswith(eventbus.RESERVED):
        raise errors.UsageError(
            f"AWS refuses the source {source!r}: those that begin with {eventbus.RESERVED} are its"
            " own; choose another, such as drill"
        )
