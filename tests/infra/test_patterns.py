"""The patterns of the rules, in two implementations of event patterns."""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import pytest
from moto.events import models

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


@functools.cache
def patterns() -> Mapping[str, Mapping[str, Any]]:
    """The pattern of each rule for events of AWS; the one for drills is there on demand."""
    return {
        name: resource["Properties"]["EventPattern"]
        for name, resource in templates.read(templates.QUEUE)["Resources"].items()
        if resource["Type"] == "AWS::Events::Rule" and "Condition" not in resource
    }


@pytest.mark.parametrize("case", DOCUMENTED)
def test_filters_mean_what_aws_says(matches: Matches, case: str) -> None:
    pattern, detail, expected = DOCUMENTED[case]

    assert matches(pattern, samples.enveloped({"detail": detail})) is expected


@pytest.mark.parametrize("name", samples.EVENTS)
def test_an_event_matches_exactly_its_rule(matches: Matches, name: str) -> None:
    event, rule = samples.EVENTS[name]

    matched = [
        rule for rule, pattern in patterns().items() if matches(pattern, samples.enveloped(event))
    ]

    assert matched == ([rule] if rule else [])


def test_every_rule_has_an_event() -> None:
    assert {rule for _, rule in samples.EVENTS.values() if rule} == set(patterns())


def test_what_is_no_json_cannot_be_an_event() -> None:
    others = [path for path in samples.FOLDER.iterdir() if path.suffix not in (".json", ".md")]

    assert others
    for path in others:
        with pytest.raises(ValueError, match=r"Expecting|Extra data"):
            json.loads(path.read_text(encoding="utf-8"))
