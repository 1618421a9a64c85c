"""What a log line looks like, and what it never holds."""

import datetime as dt
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
def test_a_traceback_comes_without_the_values_of_variables(
    capsys: pytest.CaptureFixture[str], *, as_text: bool
) -> None:
    logs.configure(as_text=as_text, level="info")
    token = secrets.token_hex(8)
    try:
        _fail_with(token)
    except ConnectionError:
        structlog.get_logger("test").exception("crashed")

    said = capsys.readouterr().err
    assert "_fail_with" in said
    assert "refused after 16 letters" in said
    assert token not in said


def test_what_json_has_no_type_for_can_be_read_by_machines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(as_text=False, level="info")
    structlog.get_logger("test").info(
        "told",
        at=dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC),
        took=dt.timedelta(minutes=1.5),
        kind=EventKind.SPOT_INTERRUPTION,
        kinds=frozenset({EventKind.STATE_CHANGE}),
    )

    said = json.loads(capsys.readouterr().err)
    assert dt.datetime.fromisoformat(said["at"]) == dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
    assert said["took"] == 90
    assert said["kind"] == "spot_interruption"
    assert said["kinds"] == ["state_change"]
