"""The format of log lines, and what they never contain."""

import datetime as dt
import enum
import json
import logging
import secrets
from collections.abc import Iterator

import pytest
import structlog

from queue_processor.domain.events import EventKind
from queue_processor.observability import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, level = before
    root.setLevel(level)
    structlog.reset_defaults()


def _fail_with(token: str) -> None:
    raise ConnectionError(f"refused after {len(token)} letters")


@pytest.mark.parametrize("as_text", [True, False])
def test_a_traceback_does_not_contain_the_values_of_variables(
    capsys: pytest.CaptureFixture[str], *, as_text: bool
) -> None:
    logs.configure(as_text=as_text, level="info")
    token = secrets.token_hex(8)
    try:
        _fail_with(token)
    except ConnectionError:
        structlog.get_logger("test").exception("crashed")

    logged = capsys.readouterr().err
    assert "_fail_with" in logged
    assert "refused after 16 letters" in logged
    assert token not in logged


def test_values_without_a_json_type_are_converted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(as_text=False, level="info")
    structlog.get_logger("test").info(
        "event",
        at=dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC),
        took=dt.timedelta(minutes=1.5),
        kind=EventKind.SPOT_INTERRUPTION,
        kinds=frozenset({EventKind.STATE_CHANGE}),
    )

    logged = json.loads(capsys.readouterr().err)
    assert dt.datetime.fromisoformat(logged["at"]) == dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
    assert logged["took"] == 90
    assert logged["kind"] == "spot_interruption"
    assert logged["kinds"] == ["state_change"]


class _Color(enum.StrEnum):
    RED = "red"


def test_text_shows_words_and_no_code_of_python(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(as_text=True, level="info")
    structlog.get_logger("test").info(
        "outcome",
        result=_Color.RED,
        instances=[{"node": "node-1", "result": _Color.RED, "left": []}],
        limit=dt.timedelta(seconds=1.5),
    )

    (line,) = capsys.readouterr().err.splitlines()
    assert "result=red" in line
    assert '[{"node": "node-1", "result": "red", "left": []}]' in line
    assert "limit=1.5" in line
    assert "_Color" not in line
    assert "timedelta" not in line
