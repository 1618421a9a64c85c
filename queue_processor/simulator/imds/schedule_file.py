"""A file that says when something is announced, and to which nodes.

notices:
  - begins: 30s                      # after the start, or a time: 2026-12-01T09:00:00Z
    kind: spot_interruption
    nodes: [ip-10-0-1-7.ec2.internal]
    in: 2min
"""

import datetime as dt
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import yaml

from queue_processor.domain import durations, errors, json_fields
from queue_processor.simulator.imds import announcements
from queue_processor.simulator.imds.schedule import ScheduledAnnouncement

_KEY = "notices"
_FIELDS = (announcements.FIELDS - {"node", "instance"}) | {"begins", "nodes"}


def load(path: pathlib.Path, *, started_at: dt.datetime) -> Sequence[ScheduledAnnouncement]:
    """Read a schedule.

    Args:
        path: The file.
        started_at: When the server starts: delays count from here.

    Raises:
        UsageError: The file cannot be read, or parts of it cannot be used; one line for each.
    """
    try:
        loaded: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise errors.UsageError(f"{path}: cannot be read: {cause.strerror}") from cause
    except (yaml.YAMLError, ValueError, RecursionError) as cause:
        raise errors.UsageError(f"{path}: not YAML: {' '.join(str(cause).split())}") from cause
    if not isinstance(loaded, dict) or loaded.keys() != {_KEY} or not _is_list(loaded[_KEY]):
        raise errors.UsageError(f"{path}: has to be a mapping with one list, {_KEY}")
    entries: list[ScheduledAnnouncement] = []
    problems: list[str] = []
    for number, entry in enumerate(loaded[_KEY]):
        try:
            entries += _entries(entry, started_at=started_at)
        except (errors.UsageError, errors.MalformedMessage) as error:
            problems.append(f"{path}: {_KEY}[{number}]: {error}")
    if problems:
        raise errors.UsageError("\n".join(problems))
    return sorted(entries, key=lambda entry: entry.begins_at)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _entries(entry: object, *, started_at: dt.datetime) -> Iterator[ScheduledAnnouncement]:
    if not isinstance(entry, dict):
        raise errors.UsageError(f"{json_fields.describe(entry)}, where a mapping is needed")
    if unknown := {str(key) for key in entry} - _FIELDS:
        raise errors.UsageError(f"{', '.join(sorted(unknown))}: no such field")
    begins_at = _begin(entry, started_at=started_at)
    nodes = json_fields.list_at(entry, "nodes")
    if not nodes:
        raise errors.UsageError("nodes: at least one is needed")
    rest: Mapping[str, object] = {
        key: value for key, value in entry.items() if key not in {"begins", "nodes"}
    }
    for node in nodes:
        order = announcements.parse({**rest, "node": node})
        yield ScheduledAnnouncement(begins_at=begins_at, order=order)


def _begin(entry: Mapping[str, object], *, started_at: dt.datetime) -> dt.datetime:
    value = entry.get("begins")
    if isinstance(value, dt.datetime):
        # YAML has times of its own; one without a zone is in UTC, as everywhere in AWS.
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
    try:
        return started_at + durations.parse(value if isinstance(value, str) else "")
    except errors.UsageError as error:
        what = f"{value[:60]!r}" if isinstance(value, str) else json_fields.describe(value)
        raise errors.UsageError(
            f"begins: {what}, where a delay such as 30s is needed, or a time such as"
            " 2026-12-01T09:00:00Z"
        ) from error
