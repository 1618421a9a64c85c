"""Label selectors, as kubectl and the objects of the Kubernetes API write them.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
"""

import dataclasses
import enum
import re
from collections.abc import Mapping
from typing import Any

from queue_processor.domain import errors

# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_KEY = rf"(?P<key>(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_NAME})"
_VALUE = rf"(?:{_NAME})?"
_VALUES = rf"\s*{_VALUE}\s*(?:,\s*{_VALUE}\s*)*"
_REQUIREMENTS = re.compile(r"(?:[^,(]|\([^)]*\))+")
_SET = re.compile(rf"{_KEY}\s+(?P<operator>in|notin)\s*\((?P<values>{_VALUES})\)")
_EQUALITY = re.compile(rf"{_KEY}\s*(?P<operator>==|=|!=)\s*(?P<value>{_VALUE})")
_EXISTENCE = re.compile(rf"(?P<operator>!?)\s*{_KEY}")


class _Operator(enum.Enum):
    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "!"


# The operators of matchExpressions.
_EXPRESSIONS = {
    "In": _Operator.IN,
    "NotIn": _Operator.NOT_IN,
    "Exists": _Operator.EXISTS,
    "DoesNotExist": _Operator.ABSENT,
}


@dataclasses.dataclass(frozen=True, slots=True)
class _Requirement:
    key: str
    operator: _Operator
    values: frozenset[str] = frozenset()

    def is_met_by(self, labels: Mapping[str, str]) -> bool:
        match self.operator:
            case _Operator.IN:
                return labels.get(self.key) in self.values
            case _Operator.NOT_IN:
                return labels.get(self.key) not in self.values
            case _Operator.EXISTS:
                return self.key in labels
            case _Operator.ABSENT:
                return self.key not in labels


@dataclasses.dataclass(frozen=True, slots=True)
class LabelSelector:
    """A conjunction of requirements; an empty selector selects everything."""

    requirements: tuple[_Requirement, ...] = ()

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Return True if an object with these labels is selected."""
        return all(requirement.is_met_by(labels) for requirement in self.requirements)


def parse(text: str) -> LabelSelector:
    """Parse a selector such as `team=a,env!=dev,tier in (web, api),!spot`.

    Raises:
        ConfigurationError: The text is not a label selector.
    """
    if not text.strip():
        return LabelSelector()
    parts = _REQUIREMENTS.findall(text)
    if ",".join(parts) != text:
        raise errors.ConfigurationError(f"{text!r} is not a list of label requirements")
    return LabelSelector(tuple(_requirement(part.strip()) for part in parts))


def read(selector: Mapping[str, Any]) -> LabelSelector:
    """Read a LabelSelector object.

    https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/label-selector/
    """
    exact = [
        _Requirement(key, _Operator.IN, frozenset({value}))
        for key, value in (selector.get("matchLabels") or {}).items()
    ]
    expressions = [
        _Requirement(
            each["key"], _EXPRESSIONS[each["operator"]], frozenset(each.get("values") or ())
        )
        for each in selector.get("matchExpressions") or ()
    ]
    return LabelSelector((*exact, *expressions))


def _requirement(text: str) -> _Requirement:
    if (match := _SET.fullmatch(text)) and match["values"].strip():
        values = frozenset(value.strip() for value in match["values"].split(","))
        return _Requirement(match["key"], _Operator(match["operator"]), values)
    if match := _EQUALITY.fullmatch(text):
        operator = _Operator.NOT_IN if match["operator"] == "!=" else _Operator.IN
        return _Requirement(match["key"], operator, frozenset({match["value"]}))
    if match := _EXISTENCE.fullmatch(text):
        return _Requirement(
            match["key"], _Operator.ABSENT if match["operator"] else _Operator.EXISTS
        )
    raise errors.ConfigurationError(
        f"{text!r} is not a label requirement such as a=b, a!=b, a in (b, c), a notin (b), a or !a"
    )
