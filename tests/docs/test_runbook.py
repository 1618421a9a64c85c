"""The runbook against the code: what asks for a person is in it, and nothing that is not there."""

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

import queue_processor
from docs import reference
from queue_processor.domain.plan import InstanceResult, OutcomeKind
from queue_processor.observability import metrics
from queue_processor.settings import Settings
from queue_processor.settings.groups import Group
from queue_processor.settings.webhooks import WebhookSettings
from tests.docs import headings

SOURCES = pathlib.Path(queue_processor.__file__).parent
RUNBOOK = (reference.DOCS / "runbook.md").read_text(encoding="utf-8")
ASKS_FOR_A_PERSON = {"warning", "error", "exception", "critical", "fatal", "warn"}
WRITTEN = [
    "doctor.md",
    "install.md",
    "logs.md",
    "runbook.md",
    "test-your-handler.md",
    "webhooks.md",
]


def _sources() -> list[pathlib.Path]:
    """The program; the simulator stands beside it."""
    return [path for path in sorted(SOURCES.rglob("*.py")) if "simulator" not in path.parts]


def _calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a logger that asks for a person, and where it is."""
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(
                        value=ast.Name(id="_log") | ast.Attribute(attr="_log"), attr=level
                    )
                ):
                    if level in ASKS_FOR_A_PERSON:
                        yield f"{path}:{node.lineno}", node


def _logged() -> set[str]:
    """The names of the events of such calls; each has to be a plain text."""
    names = set()
    for where, call in _calls():
        match call.args:
            case [ast.Constant(value=str(name))]:
                names.add(name)
            case _:
                pytest.fail(f"{where}: the name of the event has to be a plain text")
    return names


def _section(heading: str) -> str:
    _, _, after = RUNBOOK.partition(f"\n## {heading}\n")
    return after.split("\n## ")[0]


def test_every_log_message_that_asks_for_a_person_is_in_the_runbook_and_no_other() -> None:
    documented = re.findall(r"^#### `(\w+)`$", _section("Log messages"), flags=re.MULTILINE)

    assert len(documented) == len(set(documented))
    assert set(documented) == _logged()


def test_no_logger_has_another_name() -> None:
    """Else the calls of it would not be found."""
    for path in _sources():
        text = path.read_text(encoding="utf-8")
        loggers = re.findall(r"^(.*)get_?[lL]ogger\(__name__\)", text, flags=re.MULTILINE)
        assert set(loggers) <= {"_log = structlog."}, path


def test_every_outcome_is_in_the_runbook_and_no_other() -> None:
    documented = headings.below(reference.DOCS / "runbook.md", "Outcomes")

    assert documented == [f"`{kind.value}`" for kind in OutcomeKind]


def test_every_instance_result_is_in_the_runbook_and_no_other() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", _section("Instance results"), flags=re.MULTILINE)

    assert sorted(documented) == sorted(InstanceResult)


@pytest.mark.parametrize("name", WRITTEN)
def test_metrics_that_are_named_exist(name: str) -> None:
    text = (reference.DOCS / name).read_text(encoding="utf-8")
    known = {entry.name for entry in metrics.CATALOGUE.entries}

    assert set(re.findall(r"queue_processor_\w+", text)) - {"queue_processor_"} <= known


@pytest.mark.parametrize("name", WRITTEN)
def test_settings_that_are_named_exist(name: str) -> None:
    text = (reference.DOCS / name).read_text(encoding="utf-8")
    groups = {
        key: type(field.default).model_fields
        for key, field in Settings.model_fields.items()
        if isinstance(field.default, Group)
    }
    groups["webhooks"] = WebhookSettings.model_fields

    named = re.findall(rf"`({'|'.join(groups)})\.([a-z_]+)\b(?!/)", text)
    assert all(key in groups[group] for group, key in named), named


@pytest.mark.parametrize("name", [*WRITTEN, *reference.REFERENCES])
def test_links_lead_somewhere(name: str) -> None:
    text = (reference.DOCS / name).read_text(encoding="utf-8")

    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = reference.DOCS / path if path else reference.DOCS / name
        assert linked.exists(), target
        if anchor:
            assert anchor in headings.anchors(linked), target
