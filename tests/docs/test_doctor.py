"""The page of `doctor` against its checks."""

import ast
import json
import pathlib
import re

from docs import reference
from queue_processor.adapters import aws
from queue_processor.doctor.findings import CheckName, CheckStatus

PAGE = (reference.DOCS / "doctor.md").read_text(encoding="utf-8")


ADAPTERS = pathlib.Path(aws.__file__).parent


def requested(module: str) -> set[str]:
    """The actions that an adapter names for the case that they are forbidden."""
    tree = ast.parse((ADAPTERS / module).read_text(encoding="utf-8"))
    return {
        ast.literal_eval(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".needs_permission")
    }


def rows_below(heading: str) -> list[str]:
    """The first cells of the table below a head."""
    table = PAGE.partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `([\w-]+)` \|", table, flags=re.MULTILINE)


def test_every_check_is_in_the_table_in_its_order() -> None:
    assert rows_below("check") == list(CheckName)


def test_every_result_is_explained() -> None:
    assert set(rows_below("result")) == set(CheckStatus)


def test_the_policy_allows_what_is_read_and_no_more() -> None:
    policy = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])
    (statement,) = policy["Statement"]

    assert set(statement["Action"]) == {
        "sqs:GetQueueAttributes",
        *requested("event_rules.py"),
        *requested("autoscaling.py"),
    }
