"""Load `table.csv`, which the command applies and the docs print.

A setting has a row for each case of its values; the first case that holds applies: `true`, `false`,
`over <number>`, `with <another setting>` (if that one is true), `in a Secret`, `NTH's default` or
`else`. *becomes* is a fate, or a key in our settings, or after `chart:` in the values of our chart.
"""

import csv
import dataclasses
import enum
import json
import pathlib
from collections.abc import Mapping
from typing import TypeAlias

from queue_processor.migration import converters
from queue_processor.migration.converters import Converter

OLD_NAMES = {
    "CHECK_ASG_TAG_BEFORE_DRAINING": "CHECK_TAG_BEFORE_DRAINING",
    "MANAGED_ASG_TAG": "MANAGED_TAG",
    "GRACE_PERIOD": "POD_TERMINATION_GRACE_PERIOD",
}
"""Former names of settings, which NTH still reads."""

DEFAULTS = {
    "CHECK_TAG_BEFORE_DRAINING": "true",
    "MANAGED_TAG": "aws-node-termination-handler/managed",
}
"""Defaults of NTH that are not ours."""

NthValues: TypeAlias = Mapping[str, object]
"""The values that are set, by the name of their setting in the table."""


class Fate(enum.StrEnum):
    """The conversion of one setting."""

    MAPPED = "mapped"
    NOT_NEEDED = "not needed"
    DIFFERENT = "different by design"
    UNSUPPORTED = "not supported"


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table; `becomes` is a key if the fate is MAPPED."""

    case: str
    fate: Fate
    becomes: str
    convert: Converter
    note: str

    def holds(self, value: object, values: NthValues) -> bool:
        """Evaluate the case; raises InvalidValue if the value that decides is invalid."""
        match self.case.split():
            case ["true" | "false"]:
                return converters.flag(value) is (self.case == "true")
            case ["over", limit]:
                return converters.number(value) > int(limit)
            case ["with", other]:
                return converters.flag(values.get(other, "false"))
            case ["in", "a", "Secret"]:
                return converters.secret_of(value) is not None
            case ["NTH's", "default"]:
                return _has_default_headers(value)
            case [] | ["else"]:
                return True
            case _:
                raise AssertionError(f"unknown case: {self.case}")


def _has_default_headers(value: object) -> bool:
    try:
        headers = json.loads(converters.text(value).lower())
    except (ValueError, RecursionError):
        return False
    return bool(headers == {"content-type": "application/json"})


def _load() -> tuple[dict[str, list[Rule]], dict[str, str]]:
    rules: dict[str, list[Rule]] = {}
    chart_keys: dict[str, str] = {}
    path = pathlib.Path(__file__).with_name("table.csv")
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            becomes, convert = row["becomes"], converters.CONVERTERS[row["converter"]]
            fate = Fate(becomes) if becomes in set(Fate) else Fate.MAPPED
            rule = Rule(row["case"], fate, becomes, convert, row["note"])
            rules.setdefault(row["variable"] or row["chart key"], []).append(rule)
            if row["variable"]:
                chart_keys[row["variable"]] = row["chart key"]
    return rules, chart_keys


RULES, CHART_KEYS = _load()
"""The rules of each setting by its environment variable, or if there is none by its key in NTH's
chart; and the keys in the chart (may be empty) of those that are environment variables.
"""
