"""Apply the table, and write the result as a settings file or as values of our chart."""

import dataclasses
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import pydantic
import yaml

from queue_processor.domain import errors
from queue_processor.migration import reading, table
from queue_processor.migration.converters import Entries, InvalidValue
from queue_processor.migration.reading import NthSetting
from queue_processor.migration.table import Fate, NthValues, Rule
from queue_processor.settings import ToolSettings

Path: TypeAlias = tuple[str, ...]
"""The keys from the top of a YAML file down to a value."""

_CHART = "chart:"
_EXTRA_ENV = "extraEnv"
_WORST_FIRST = (Fate.UNSUPPORTED, Fate.DIFFERENT, Fate.NOT_NEEDED)
_NAME_LENGTH = 60
_HEAD = "# From settings of aws-node-termination-handler, by `queue-processor migrate`."
_WIDTH = 98


@dataclasses.dataclass(frozen=True, slots=True)
class MigratedValue:
    """A value of ours, and the setting of NTH from which it was made."""

    value: object
    origin: str
    note: str


@dataclasses.dataclass(frozen=True, slots=True)
class OmittedSetting:
    """A setting of NTH that did not become a value of ours, and why."""

    name: str
    fate: Fate
    note: str


@dataclasses.dataclass(frozen=True, slots=True)
class Migration:
    """The result: our settings, other values of our chart, and what is omitted, worst first."""

    settings: Mapping[Path, MigratedValue]
    chart: Mapping[Path, MigratedValue]
    omitted: Sequence[OmittedSetting]


def convert(nth_settings: Sequence[NthSetting]) -> Migration:
    """Convert the settings that the table contains, and list the others as omitted.

    Raises:
        UsageError: None of them is a setting of NTH.
    """
    by_name: dict[str, NthSetting] = {}
    omitted: list[OmittedSetting] = []
    expanded = [each for setting in nth_settings for each in _expanded(setting)]
    # In NTH a new name overrides an old one.
    for setting in sorted(expanded, key=lambda each: _normalized(each.name) not in _OLD_NAMES):
        name = _table_name(setting.name)
        if name is None:
            note = "not a known setting of NTH"
            omitted.append(OmittedSetting(_printable(setting.name), Fate.UNSUPPORTED, note))
        else:
            by_name[name] = setting
    if not by_name:
        raise errors.UsageError("it does not contain a setting of aws-node-termination-handler")
    migration = _migrate(by_name)
    omitted += migration.omitted
    omitted.sort(key=lambda each: _WORST_FIRST.index(each.fate))
    return dataclasses.replace(migration, omitted=omitted)


def tree(values: Mapping[Path, MigratedValue]) -> dict[str, Any]:
    """Return the values nested as in a file."""
    top: dict[str, Any] = {}
    for path, migrated in values.items():
        branch = top
        for name in path[:-1]:
            branch = branch.setdefault(name, {})
        branch[path[-1]] = migrated.value
    return top


def settings_file(migration: Migration) -> str:
    """Return a file for `--config`, with comments that name the origin of each setting."""
    return "\n\n".join([_HEAD, *_blocks(migration.settings)]) + "\n"


def chart_values(migration: Migration) -> str:
    """Return values of our chart, with the settings below `settings`."""
    blocks = "\n\n".join(_blocks(migration.settings))
    settings = f"settings:\n{textwrap.indent(blocks, '  ')}" if blocks else "settings: {}"
    return "\n\n".join([_HEAD, settings, *_blocks(migration.chart)]) + "\n"


def _normalized(name: str) -> str:
    """Return the spelling that the environment and the chart have in common."""
    return name.replace("_", "").lower()


_OLD_NAMES = {_normalized(old): name for old, name in table.OLD_NAMES.items()}
_NAMES = {
    **{_normalized(name): name for name in table.RULES},
    **{_normalized(key): name for name, key in table.CHART_KEYS.items()},
    **_OLD_NAMES,
}
_PREFIXES = {name.removesuffix("…"): name for name in table.RULES if name.endswith("…")}


def _table_name(name: str) -> str | None:
    prefixed = (entry for prefix, entry in _PREFIXES.items() if name.startswith(prefix))
    return _NAMES.get(_normalized(name)) or next(prefixed, None)


def _expanded(setting: NthSetting) -> Iterator[NthSetting]:
    """Take those variables out of a list in extraEnv that are settings of NTH."""
    if setting.name != _EXTRA_ENV or not isinstance(setting.value, list):
        yield setting
        return
    others: dict[str, object] = {}
    for variable in reading.variables(setting.value):
        if _table_name(variable.name) is None:
            others[variable.name] = variable.value or ""
        else:
            yield variable
    if others:
        yield NthSetting(setting.name, others)


def _migrate(by_name: Mapping[str, NthSetting]) -> Migration:
    defaults = {name: NthSetting("NTH's default", each) for name, each in table.DEFAULTS.items()}
    with_defaults = {**defaults, **by_name}
    values = {name: setting.value for name, setting in with_defaults.items()}
    settings: dict[Path, MigratedValue] = {}
    chart: dict[Path, MigratedValue] = {}
    omitted: list[OmittedSetting] = []
    for name in [name for name in table.RULES if name in values]:
        origin = _printable(with_defaults[name].name)
        fate, entries = _apply(table.RULES[name], values[name], values)
        for key, value in entries.values.items():
            target = chart if key.startswith(_CHART) else settings
            path = tuple(key.removeprefix(_CHART).split("."))
            target[path] = MigratedValue(value, origin, entries.note)
        if fate is not Fate.MAPPED and name in by_name:
            omitted.append(OmittedSetting(origin, fate, entries.note))
    omitted += _remove_invalid(settings)
    return Migration(settings, chart, omitted)


def _apply(rules: Sequence[Rule], value: object, values: NthValues) -> tuple[Fate, Entries]:
    try:
        for rule in rules:
            if rule.holds(value, values):
                made = rule.convert(value) if rule.fate is Fate.MAPPED else Entries({})
                entries = made if isinstance(made, Entries) else Entries({rule.becomes: made})
                return rule.fate, dataclasses.replace(entries, note=entries.note or rule.note)
    except InvalidValue as invalid:
        return Fate.UNSUPPORTED, Entries({}, f"not migrated: {invalid}")
    return Fate.MAPPED, Entries({})


def _remove_invalid(settings: dict[Path, MigratedValue]) -> Iterator[OmittedSetting]:
    """Remove what our own settings do not allow, such as a queue_url that is not a URL."""
    # No name in the environment begins with NUL: only the migrated values are read.
    arguments = {"_env_prefix": "\0", **tree(settings)}
    try:
        ToolSettings(**arguments)
    except pydantic.ValidationError as invalid:
        for error in invalid.errors():
            location = tuple(str(part) for part in error["loc"])
            for path in [path for path in settings if location[: len(path)] == path]:
                reason = error["msg"].removeprefix("Value error, ")
                note = f"not migrated, because {'.'.join(path)} does not allow it: {reason}"
                yield OmittedSetting(settings.pop(path).origin, Fate.UNSUPPORTED, note)


def _printable(name: str) -> str:
    """Make a name from a file safe for a terminal and a YAML comment."""
    kept = "".join(letter if letter.isprintable() else "?" for letter in name)
    return kept if len(kept) <= _NAME_LENGTH else f"{kept[: _NAME_LENGTH - 1]}…"


def _blocks(values: Mapping[Path, MigratedValue]) -> Iterator[str]:
    """Yield one block of YAML for each key at the top, below comments about its content."""
    for top in dict.fromkeys(path[0] for path in values):
        inside = {path: migrated for path, migrated in values.items() if path[0] == top}
        dumped = yaml.safe_dump(tree(inside), sort_keys=False, width=_WIDTH)
        yield "\n".join([*_comments(inside), dumped.rstrip("\n")])


def _comments(values: Mapping[Path, MigratedValue]) -> Iterator[str]:
    """Yield one comment for each origin."""
    keys: dict[tuple[str, str], list[str]] = {}
    for path, migrated in values.items():
        keys.setdefault((migrated.origin, migrated.note), []).extend(path[1:])
    for (origin, note), names in keys.items():
        subject = f"{', '.join(names)}: from {origin}" if names else f"From {origin}"
        yield textwrap.fill(
            f"{subject}; {note}." if note else f"{subject}.",
            _WIDTH,
            initial_indent="# ",
            subsequent_indent="#   ",
            # Paths must stay whole, because people copy them.
            break_on_hyphens=False,
            break_long_words=False,
        )
