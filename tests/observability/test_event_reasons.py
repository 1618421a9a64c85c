"""The catalogue of Event reasons against the code, and against the rules of the API."""

import pathlib
import re

import pytest

import queue_processor
from queue_processor.domain.events import EventKind
from queue_processor.observability import event_reasons
from queue_processor.observability.event_reasons import EventReason


@pytest.mark.parametrize("reason", event_reasons.REASONS, ids=lambda reason: reason.name)
def test_a_reason_is_one_that_the_api_takes(reason: EventReason) -> None:
    """https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/"""
    assert re.fullmatch("([A-Z][a-z]+)+", reason.name)
    assert len(reason.name) <= 128


def test_no_reason_is_there_twice() -> None:
    names = [reason.name for reason in event_reasons.REASONS]

    assert len(names) == len(set(names))


def test_every_kind_that_marks_a_node_has_a_reason_of_its_own() -> None:
    assert set(event_reasons.INTERRUPTIONS) == set(EventKind) - {EventKind.AUTOSCALING_LAUNCH}
    spot = event_reasons.INTERRUPTIONS[EventKind.SPOT_INTERRUPTION]
    assert spot.name == "SpotInterruption"


def test_reasons_are_made_in_the_catalogue_only_and_every_one_is_used() -> None:
    package = pathlib.Path(queue_processor.__file__).parent
    sources = {path: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    makers = [path.name for path, text in sources.items() if "EventReason(" in text]
    names = [name for name, value in vars(event_reasons).items() if isinstance(value, EventReason)]

    assert makers == ["event_reasons.py"]
    for name in (*names, "INTERRUPTIONS"):
        assert any(f"event_reasons.{name}" in text for text in sources.values()), name
