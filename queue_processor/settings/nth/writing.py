"""Prints what became of NTH's settings: our settings file, or values of our chart."""

import textwrap
from collections.abc import Iterator, Mapping

import yaml

from queue_processor.settings.nth.conversion import Migration, Put, tree
from queue_processor.settings.nth.rules import Place

_HEAD = "# From settings of aws-node-termination-handler, by `queue-processor migrate`."
_WIDTH = 98


def settings_file(migration: Migration) -> str:
    """What `--config` takes, with comments that say where each setting came from."""
    return "\n\n".join([_HEAD, *_blocks(migration.settings)]) + "\n"


def chart_values(migration: Migration) -> str:
    """Values of our chart; the settings are below `settings`."""
    settings = "\n\n".join(_blocks(migration.settings))
    below = f"settings:\n{textwrap.indent(settings, '  ')}" if settings else "settings: {}"
    return "\n\n".join([_HEAD, below, *_blocks(migration.chart)]) + "\n"


def _blocks(puts: Mapping[Place, Put]) -> Iterator[str]:
    """One block for each name at the top, below the comments about what is in it."""
    for top in dict.fromkeys(place[0] for place in puts):
        inside = {place: put for place, put in puts.items() if place[0] == top}
        dumped = yaml.safe_dump(tree(inside), sort_keys=False, width=_WIDTH)
        yield "\n".join([*_comments(inside), dumped.rstrip("\n")])


def _comments(puts: Mapping[Place, Put]) -> Iterator[str]:
    """Where each came from; those that came from one place together."""
    sources: dict[tuple[str, str], list[str]] = {}
    for place, put in puts.items():
        sources.setdefault((put.origin, put.why), []).extend(place[1:])
    for (origin, why), names in sources.items():
        subject = f"{', '.join(names)}: from {origin}" if names else f"From {origin}"
        said = f"{subject}; {why}." if why else f"{subject}."
        yield textwrap.fill(
            said,
            _WIDTH,
            initial_indent="# ",
            subsequent_indent="#   ",
            # Else paths are broken, which people copy.
            break_on_hyphens=False,
            break_long_words=False,
        )
