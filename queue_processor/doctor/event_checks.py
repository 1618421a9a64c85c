"""Check that events reach the queue, and that groups wait for the drains."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Iterator, Mapping, Sequence

from queue_processor.doctor import findings
from queue_processor.doctor.findings import CheckName, Finding
from queue_processor.doctor.installation import Installation
from queue_processor.doctor.readings import GroupReading
from queue_processor.doctor.shared_reads import or_none
from queue_processor.domain import event_builder, queue_policy
from queue_processor.domain.aws_events import Event, Origin
from queue_processor.domain.event_builder import EventOptions
from queue_processor.domain.events import EventKind, InstanceState, LifecycleTransition
from queue_processor.domain.plan import Action
from queue_processor.settings import Settings

_SAMPLE_INSTANCE = "i-0123456789abcdef0"
_TRANSITIONS: Mapping[EventKind, LifecycleTransition] = {
    EventKind.AUTOSCALING_TERMINATION: LifecycleTransition.TERMINATING,
    EventKind.AUTOSCALING_LAUNCH: LifecycleTransition.LAUNCHING,
}
_HOOKS_TEMPLATE = "infra/cloudformation/lifecycle-hooks.yaml"


async def rules(installation: Installation) -> Finding:
    """See that rules send to the queue, are enabled, and are allowed to."""
    every, policy = await installation.rules(), (await installation.queue()).configuration.policy
    if not every:
        return findings.failed(
            "no rule of the default event bus has the queue as its target",
            f"deploy {findings.TEMPLATE}",
        )
    problems = []
    disabled = [rule.name for rule in every if not rule.is_enabled]
    if disabled:
        commands = "; ".join(f"aws events enable-rule --name {name}" for name in disabled)
        problems.append(findings.failed(f"disabled: {', '.join(disabled)}", commands))
    refused = [rule for rule in every if not queue_policy.allows_rule(policy, rule.arn)]
    # If it allows none, that is the check of the policy.
    if refused and queue_policy.may_allow_rules(policy):
        names = ", ".join(rule.name for rule in refused)
        arns = ", ".join(rule.arn for rule in refused)
        problems.append(
            findings.failed(
                f"the queue policy does not allow {names} to send, so their events are lost",
                f"add to aws:SourceArn in the queue policy: {arns}",
            )
        )
    return findings.merged(problems, otherwise=findings.ok(f"{len(every)} are enabled"))


async def patterns(installation: Installation) -> Finding:
    """See that the rules match an event of each kind that is handled."""
    settings, every = await installation.settings(), await installation.rules()
    with_pattern = [rule for rule in every if rule.pattern]
    if not with_pattern:
        return findings.skipped(f"see {CheckName.EVENT_RULES}")
    arn, groups = (await installation.queue()).state.arn, await or_none(installation.groups)
    origin = _origin(arn, settings, at=installation.clock())
    events = dict(_events(settings, groups or (), origin=origin))
    matched = await asyncio.gather(
        *(installation.matches_any(with_pattern, event) for event in events.values())
    )
    missing = [name for name, is_matched in zip(events, matched, strict=True) if not is_matched]
    if missing:
        return findings.warning(
            f"no rule matches {', '.join(missing)}",
            f"deploy {findings.TEMPLATE}, or set the actions of these kinds (actions.<kind>) to"
            " ignore",
        )
    return findings.ok(f"rules match {', '.join(events)}")


def _origin(queue_arn: str, settings: Settings, *, at: dt.datetime) -> Origin:
    _, partition, _, region, account, _ = queue_arn.split(":")
    accounts = settings.sources.sqs.accounts or (account,)
    return Origin(
        time=at,
        event_id=str(uuid.uuid4()),
        region=region,
        account=accounts[0],
        partition=partition,
    )


def _events(
    settings: Settings, groups: Sequence[GroupReading], *, origin: Origin
) -> Iterator[tuple[str, Event]]:
    """Yield an event of each kind that is handled, by name.

    A rule may name groups: the kinds of lifecycle actions have one for each hook that has no other
    way to the queue.
    """
    for kind, action in settings.actions.by_kind().items():
        if action is Action.IGNORE:
            continue
        if kind not in _TRANSITIONS:
            # Other kinds do not use the option.
            options = EventOptions(state=InstanceState.SHUTTING_DOWN)
            yield kind, event_builder.build_event(kind, _SAMPLE_INSTANCE, options, origin=origin)
            continue
        for each in (hook for group in groups for hook in group.hooks):
            if each.transition is _TRANSITIONS[kind] and not each.has_target:
                options = EventOptions(hook=each.hook)
                event = event_builder.build_event(kind, _SAMPLE_INSTANCE, options, origin=origin)
                yield f"{kind} of {each.hook.group}", event


async def hooks(installation: Installation) -> Finding:
    """See that groups wait at hooks, for as long as the slowest pod may take."""
    settings, groups = await installation.settings(), await installation.groups()
    if settings.actions.autoscaling_termination is Action.IGNORE:
        return findings.skipped("actions.autoscaling_termination is ignore")
    if not groups:
        return findings.ok("no node is in an Auto Scaling group")
    problems = [problem for group in groups for problem in _problems_of(group)]
    names = ", ".join(group.name for group in groups)
    return findings.merged(problems, otherwise=findings.ok(f"long enough for the pods on {names}"))


def _problems_of(group: GroupReading) -> Iterator[Finding]:
    timeouts = [
        hook.heartbeat_timeout
        for hook in group.hooks
        if hook.transition is LifecycleTransition.TERMINATING
    ]
    if not timeouts:
        yield findings.warning(
            f"{group.name} has no lifecycle hook for terminations, so it does not wait for drains",
            f"deploy {_HOOKS_TEMPLATE} with AutoScalingGroupNames={group.name}",
        )
    elif group.slowest is not None and max(timeouts) < group.slowest.grace:
        grace = group.slowest.grace.total_seconds()
        yield findings.warning(
            f"{group.name} waits {max(timeouts).total_seconds():.0f} s for a heartbeat, and"
            f" {group.slowest.ref} may take {grace:.0f} s to stop: without a leader for that long,"
            " the instance goes first",
            f"set the heartbeat timeout of the hook to {grace:.0f} s or more (7200 s at most), or"
            " shorten terminationGracePeriodSeconds",
        )
