"""Commands that are imported when they are used.

The SDKs take tens of MiB and a second to import, and no command needs all of them. `imds serve` is
a process that stays, and needs none.
"""

import collections
import dataclasses
import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from queue_processor.cli import exits, places
from queue_processor.cli.places import Place


@dataclasses.dataclass(frozen=True, slots=True)
class LazyCommand:
    """A command that is imported when it is used.

    Attributes:
        place: Where it is: `package.module:attribute`, a function or another group.
        summary: Its line in the help of its group, which imports no command.
        works_with: What it has options for, to name a cluster or an account.
    """

    place: str
    summary: str
    works_with: tuple[Place, ...] = ()


def command_tree(
    summary: str, commands: Mapping[str, LazyCommand], *, package: str | None = None
) -> typer.Typer:
    """Return a group of commands.

    Args:
        summary: The help of the group.
        commands: The commands, by name.
        package: The distribution whose version `--version` prints, for the root of the tree; it
            also prints completion for shells.
    """

    class Tree(typer.core.TyperGroup):
        def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 they are typer's
            super().__init__(**attributes)
            self.commands = _Commands(commands)

        def list_commands(self, ctx: object) -> list[str]:
            del ctx
            return list(commands)

        def format_commands(self, ctx: object, formatter: Any) -> None:  # noqa: ANN401 as above
            del ctx
            with formatter.section("Commands"):
                formatter.write_dl([(name, each.summary) for name, each in commands.items()])

    tree = new_group(summary, cls=Tree, is_root=package is not None)
    if package is None:
        tree.callback()(_nothing)
    else:
        tree.callback()(_version_option(package))
    return tree


def _nothing() -> None:
    pass


def _version_option(package: str) -> Callable[..., None]:
    def show_version(is_set: bool) -> None:  # noqa: FBT001 - of one option
        if is_set:
            typer.echo(f"{package} {importlib.metadata.version(package)}")
            raise typer.Exit

    def root(
        *,
        _: Annotated[
            bool,
            typer.Option(
                "--version", callback=show_version, is_eager=True, help="Print the version."
            ),
        ] = False,
    ) -> None:
        pass

    return root


def new_group(
    summary: str, *, cls: type[typer.core.TyperGroup] | None = None, is_root: bool = False
) -> typer.Typer:
    """Return a group without commands, with the style of ours."""
    return typer.Typer(
        help=summary,
        cls=cls,
        no_args_is_help=True,
        add_completion=is_root,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


class _Commands(collections.UserDict[str, Any]):
    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 typer hides the class of commands
        command: LazyCommand = super().__getitem__(name)
        module, _, attribute = command.place.partition(":")
        loaded = getattr(importlib.import_module(module), attribute)
        if isinstance(loaded, typer.Typer):
            group = typer.main.get_group(loaded)
            group.name = name
            return group
        single = new_group("")
        taking = places.taking(command.works_with)
        single.command(name=name)(taking(exits.errors_reported(name)(loaded)))
        return typer.main.get_command(single)
