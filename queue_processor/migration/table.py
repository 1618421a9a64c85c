"""Load `table.csv`, which the command applies and the docs print.

A setting has a row for each case of its values; the first that holds applies: `true`, `false`,
`over <number>`, `containing <word>`, `with <another setting>` (if that one is true), `in a Secret`,
`in IMDS mode`, `in Queue Processor mode`, `NTH's default` or `else`. *becomes* is a fate, or a key
in our settings, or after `chart:` in the values of our chart. A later row replaces what an earlier
one set.
"""

import csv
import dataclasses
import enum
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import TypeAlias

from queue_processor.migration import converters
from queue_processor.migration.converters import Converter

OLD_NAMES = {
    "CHECK_ASG_TAG_BEFORE_DRAINING": "CHECK_TAG_BEFORE_DRAINING",
    "MANAGED_ASG_TAG": "MANAGED_TAG",
    "GRACE_PERIOD": "POD_TERMINATION_GRACE_PERIOD",
}
"""Former names of settings, which NTH still reads."""

NthValues: TypeAlias = Mapping[str, object]
"""The values that are set, by the name of their setting in the table."""

_QUEUE_MODE = "ENABLE_SQS_TERMINATION_DRAINING"
_NOT_ON_FARGATE = {
    "key": "eks.amazonaws.com/compute-type",
    "operator": "NotIn",
    "values": ["fargate"],
}

DEFAULTS: NthValues = {
    _QUEUE_MODE: "false",
    "CHECK_TAG_BEFORE_DRAINING": "true",
    "MANAGED_TAG": "aws-node-termination-handler/managed",
    "ENABLE_REBALANCE_MONITORING": "false",
    "daemonsetAffinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [_NOT_ON_FARGATE]}]
            }
        }
    },
}
"""Defaults of NTH that are not ours, as in the values of its chart."""


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
        if self.case in _CASES:
            return _CASES[self.case](value, values)
        word, _, operand = self.case.partition(" ")
        return _CASES_ABOUT[word](operand, value, values)


def _reads_queue(values: NthValues) -> bool:
    """Return False for IMDS mode, in which NTH runs on every node."""
    return converters.flag(values[_QUEUE_MODE])


def _has_default_headers(value: object) -> bool:
    try:
        headers = json.loads(converters.text(value).lower())
    except (ValueError, RecursionError):
        return False
    return bool(headers == {"content-type": "application/json"})


_CASES: Mapping[str, Callable[[object, NthValues], bool]] = {
    "": lambda *_: True,
    "else": lambda *_: True,
    "true": lambda value, _: converters.flag(value),
    "false": lambda value, _: not converters.flag(value),
    "in IMDS mode": lambda _, values: not _reads_queue(values),
    "in Queue Processor mode": lambda _, values: _reads_queue(values),
    "in a Secret": lambda value, _: converters.secret_of(value) is not None,
    "NTH's default": lambda value, _: _has_default_headers(value),
}

# The word that the case begins with, and a function that also takes the rest of it.
_CASES_ABOUT: Mapping[str, Callable[[str, object, NthValues], bool]] = {
    "over": lambda limit, value, _: converters.number(value) > int(limit),
    "containing": lambda word, value, _: word in converters.text(value).lower(),
    "with": lambda other, _, values: converters.flag(values.get(other, "false")),
}


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
