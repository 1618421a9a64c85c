"""docs/logs.md on what the watcher logs."""

import ast
import pathlib
import re

import queue_processor
from docs import reference

WATCHER = pathlib.Path(queue_processor.__file__).parent / "watcher"
TEXT = (reference.DOCS / "logs.md").read_text(encoding="utf-8")


def _logged() -> set[str]:
    """The names of the events that the watcher logs, at any level."""
    names = set()
    for path in WATCHER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(
                        value=ast.Name(id="log") | ast.Attribute(attr="_log"),
                        attr="info" | "warning",
                    ),
                    args=[ast.Constant(value=str(name))],
                ):
                    names.add(name)
                case _:
                    pass
    return names


def test_every_event_of_the_watcher_is_documented_and_no_other() -> None:
    _, _, section = TEXT.partition("\n## The watcher\n")
    documented = re.findall(r"^\| `(\w+)` \| (?:info|warning) \|", section, flags=re.MULTILINE)

    assert len(documented) == len(set(documented))
    assert set(documented) == _logged()
