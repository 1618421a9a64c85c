"""Turns the options of `send` into a query for targets and options of the events."""

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence

from queue_processor.adapters.aws import eventbus
from queue_processor.domain import errors, identifiers, selectors
from queue_processor.domain.event_builder import ChangeStatus, EventOptions
from queue_processor.domain.events import EventKind, InstanceState, LifecycleHook
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.messages import options
from queue_processor.messages.send.targets import TargetQuery

_STORM = dt.timedelta(seconds=30)
# Every kubelet sets it on its node.
_EVERY_NODE = "kubernetes.io/hostname"
_LIFECYCLE = ("group", "hook")
_REQUIRED: Mapping[EventKind, tuple[str, ...]] = {
    EventKind.STATE_CHANGE: ("state",),
    EventKind.AUTOSCALING_TERMINATION: _LIFECYCLE,
    EventKind.AUTOSCALING_LAUNCH: _LIFECYCLE,
}
_ALLOWED: Mapping[EventKind, tuple[str, ...]] = {
    **_REQUIRED,
    EventKind.SCHEDULED_CHANGE: ("starts_in", "status"),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EventArguments:
    """The options of the command that only some kinds of event have; None if not set."""

    state: InstanceState | None
    group: str | None
    hook: str | None
    starts_in: str | None
    status: ChangeStatus | None


def target_query(
    instances: Sequence[str], nodes: Sequence[str], selector: str | None, count: int | None
) -> TargetQuery:
    """Return which nodes are meant.

    Raises:
        UsageError: They are named in no way, in more than one, or not correctly.
    """
    if sum((bool(instances), bool(nodes), selector is not None)) != 1:
        raise errors.UsageError("name the nodes in one way: --instance, --node or --selector")
    if selector is not None:
        return TargetQuery(selector=_parse_selector(selector), count=count)
    return TargetQuery(
        instance_ids=tuple(_parse_instance_id(text) for text in instances),
        node_names=tuple(NodeName(name) for name in nodes),
        count=count,
    )


def _parse_selector(text: str) -> selectors.LabelSelector:
    if not text.strip():
        raise errors.UsageError(
            f"the selector is empty; if every node is meant, write --selector {_EVERY_NODE}"
        )
    try:
        return selectors.parse(text)
    except errors.ConfigurationError as error:
        raise errors.UsageError(str(error)) from error


def _parse_instance_id(text: str) -> InstanceId:
    instance_id = identifiers.parse_instance_id(text)
    if instance_id is None:
        raise errors.UsageError(f"{text!r} is not an instance id such as i-0123456789abcdef0")
    return instance_id


def event_options(kind: EventKind, arguments: EventArguments) -> EventOptions:
    """Return what the events state beside their instances.

    Raises:
        UsageError: The kind needs an option that is not set, or does not have one that is.
    """
    for field in dataclasses.fields(arguments):
        option, value = f"--{field.name.replace('_', '-')}", getattr(arguments, field.name)
        if not value and field.name in _REQUIRED.get(kind, ()):
            raise errors.UsageError(f"{kind} needs {option}; see --help")
        if value is not None and field.name not in _ALLOWED.get(kind, ()):
            raise errors.UsageError(f"{option} does not apply to {kind}; leave it out")
    result = EventOptions(state=arguments.state)
    if arguments.group and arguments.hook:
        hook = LifecycleHook(group=arguments.group, name=arguments.hook)
        result = dataclasses.replace(result, hook=hook)
    if arguments.starts_in is not None:
        starts_in = options.parse_duration(arguments.starts_in)
        result = dataclasses.replace(result, starts_in=starts_in)
    if arguments.status is not None:
        result = dataclasses.replace(result, status=arguments.status)
    return result


def spread_over(spread: str | None, *, is_storm: bool) -> dt.timedelta:
    """Return over which time the events are sent; zero means at once.

    Raises:
        UsageError: The text is not a duration.
    """
    if spread is not None:
        return options.parse_duration(spread)
    return _STORM if is_storm else dt.timedelta()


def check_source(source: str | None, event_bus: str | None) -> None:
    """Refuse a source that AWS would refuse.

    Raises:
        UsageError: The source is reserved for AWS, or there is no event bus.
    """
    if source is None:
        return
    if event_bus is None:
        raise errors.UsageError("--source is for events on a bus: name it with --event-bus")
    if not source or source.startswith(eventbus.RESERVED):
        raise errors.UsageError(
            f"AWS refuses the source {source!r}: those that begin with {eventbus.RESERVED} are"
            " reserved; choose another, such as drill"
        )
