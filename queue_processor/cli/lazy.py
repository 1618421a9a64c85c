"""Commands that are imported when they are used.

The SDKs take tens of MiB and a second to import, and no command needs all of them. `imds serve` is
a process that stays, and needs none.
"""

import collections
import importlib
from collections.abc import Mapping
from typing import Any

import typer
import typer.core
import typer.main

from queue_processor.cli import exits


def command_tree(summary: str, places: Mapping[str, str]) -> typer.Typer:
    """Return a group of commands.

    Args:
        summary: The help of the group.
        places: Where each command is, by its name: `package.module:attribute`, a function or
            another group.
    """

    class Tree(typer.core.TyperGroup):
        def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 they are typer's
            super().__init__(**attributes)
            self.commands = _Commands(places)

    tree = new_group(summary, cls=Tree)

    @tree.callback()
    def group() -> None:
        pass

    return tree


def new_group(summary: str, *, cls: type[typer.core.TyperGroup] | None = None) -> typer.Typer:
    """Return a group without commands, with the style of ours."""
    return typer.Typer(
        help=summary,
        cls=cls,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


class _Commands(collections.UserDict[str, Any]):
    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 typer hides the class of commands
        place: str = super().__getitem__(name)
        module, _, attribute = place.partition(":")
        loaded = getattr(importlib.import_module(module), attribute)
        if isinstance(loaded, typer.Typer):
            group = typer.main.get_group(loaded)
            group.name = name
            return group
        single = new_group("")
        single.command(name=name)(exits.errors_reported(name)(loaded))
        return typer.main.get_command(single)
