"""The patterns of the rules, in two implementations of event patterns."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import pytest
from moto.events import models

from queue_processor.simulator.aws import simulator
from tests import pyenvironments
from tests.infra import ministack, samples, templates

Matches: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Any]], bool]

pytestmark = pytest.mark.timeout(pyenvironments.INSTALL_SECONDS)

# The examples of the user guide for the filters of the rules.
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
DOCUMENTED: Mapping[str, tuple[dict[str, Any], dict[str, str], bool]] = {
    "a value": ({"detail": {"state": ["a", "b"]}}, {"state": "b"}, True),
    "another value": ({"detail": {"state": ["a", "b"]}}, {"state": "c"}, False),
    "no value": ({"detail": {"state": ["a"]}}, {}, False),
    "anything but, another": ({"detail": {"to": [{"anything-but": "a"}]}}, {"to": "b"}, True),
    "anything but, that one": ({"detail": {"to": [{"anything-but": "a"}]}}, {"to": "a"}, False),
    "anything but, missing": ({"detail": {"to": [{"anything-but": "a"}]}}, {}, False),
    "missing, as it has to be": ({"detail": {"to": [{"exists": False}]}}, {}, True),
    "there, though it must not": ({"detail": {"to": [{"exists": False}]}}, {"to": "a"}, False),
    "one of two filters": (
        {"detail": {"to": [{"anything-but": "a"}, {"exists": False}]}},
        {},
        True,
    ),
    "only one of two fields": ({"detail": {"a": ["1"], "b": ["2"]}}, {"a": "1", "b": "3"}, False),
}


def by_moto(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    return models.EventPattern(json.dumps(pattern), dict(pattern)).matches_event(
        event  # type: ignore[arg-type] # an event from outside
    )


@pytest.fixture
def by_ministack(emulator: ministack.Ministack) -> Iterator[Matches]:
    client = emulator.session.client("events", **emulator.reached())

    def matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
        answer = client.test_event_pattern(
            EventPattern=json.dumps(pattern), Event=json.dumps(event)
        )
        return answer["Result"]

    yield matches
    client.close()


@pytest.fixture(params=["moto", "ministack"])
def matches(request: pytest.FixtureRequest) -> Matches:
    """Return True if a pattern matches an event."""
    if request.param == "moto":
        return by_moto
    found: Matches = request.getfixturevalue("by_ministack")
    return found


def patterns_of(aws: simulator.AwsSimulator, **parameters: str) -> Mapping[str, Mapping[str, Any]]:
    """The pattern of each rule for events of AWS; the one for drills is there on demand."""
    return {
        name: resource["Properties"]["EventPattern"]
        for name, resource in templates.rendered(aws, parameters).items()
        if resource["Type"] == "AWS::Events::Rule"
    }


@pytest.fixture(scope="module")
def patterns(aws: simulator.AwsSimulator) -> Mapping[str, Mapping[str, Any]]:
    """The pattern of each rule, with the defaults of the parameters."""
    return patterns_of(aws)


@pytest.mark.parametrize("case", DOCUMENTED)
def test_filters_mean_what_aws_says(matches: Matches, case: str) -> None:
    pattern, detail, expected = DOCUMENTED[case]

    assert matches(pattern, samples.enveloped({"detail": detail})) is expected


@pytest.mark.parametrize("name", samples.EVENTS)
def test_an_event_matches_exactly_its_rule(
    matches: Matches, patterns: Mapping[str, Mapping[str, Any]], name: str
) -> None:
    event, rule = samples.EVENTS[name]

    matched = [
        rule for rule, pattern in patterns.items() if matches(pattern, samples.enveloped(event))
    ]

    assert matched == ([rule] if rule else [])


def test_every_rule_has_an_event(patterns: Mapping[str, Mapping[str, Any]]) -> None:
    assert {rule for _, rule in samples.EVENTS.values() if rule} == set(patterns)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("AutoscalingTerminationRule", "asg_terminate_lifecycle_action_2026"),
        ("AutoscalingLaunchRule", "asg_launch_lifecycle_action_2026"),
    ],
)
def test_a_stack_that_names_groups_takes_the_lifecycle_actions_of_these_alone(
    matches: Matches, aws: simulator.AwsSimulator, rule: str, name: str
) -> None:
    patterns = patterns_of(aws, AutoScalingGroupNames="eks-a,eks-b")

    matched = {
        group: matches(
            patterns[rule],
            samples.enveloped(samples.changed(name, AutoScalingGroupName=group)),
        )
        for group in ("eks-a", "eks-b", "eks-c", "eks-a,eks-b")
    }

    assert matched == {"eks-a": True, "eks-b": True, "eks-c": False, "eks-a,eks-b": False}


def test_a_stack_that_names_accounts_takes_the_events_of_these_alone(
    matches: Matches, aws: simulator.AwsSimulator
) -> None:
    patterns = patterns_of(aws, EventAccounts="111122223333,444455556666")

    for event, rule in samples.EVENTS.values():
        if rule is not None:
            for account, expected in (("444455556666", True), ("123456789012", False)):
                sent = samples.enveloped(event) | {"account": account}
                assert matches(patterns[rule], sent) is expected, sent


def test_what_is_no_json_cannot_be_an_event() -> None:
    others = [path for path in samples.FOLDER.iterdir() if path.suffix not in (".json", ".md")]

    assert others
    for path in others:
        with pytest.raises(ValueError, match=r"Expecting|Extra data"):
            json.loads(path.read_text(encoding="utf-8"))
