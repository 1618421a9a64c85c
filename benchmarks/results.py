"""The figures of one run: saved as JSON, and rendered for people."""

import dataclasses
import datetime as dt
import importlib.metadata
import os
import pathlib
import platform
import subprocess
from collections.abc import Mapping, Sequence

import jinja2
import pydantic

from benchmarks.figures import Row
from tests.cluster import assets

_HERE = pathlib.Path(__file__).parent
_PACKAGES = ("kopf", "kubernetes", "boto3", "aiohttp", "orjson")


@dataclasses.dataclass(frozen=True, slots=True)
class Provenance:
    """The machine and the versions that were measured."""

    revision: str
    day: str
    machine: str
    versions: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class BenchmarkResults:
    """All figures of one run.

    Attributes:
        provenance: What they are figures of.
        sections: The rows of each table.
    """

    provenance: Provenance
    sections: Mapping[str, Sequence[Row]]


_SAVED = pydantic.TypeAdapter(BenchmarkResults)


def save(results: BenchmarkResults, path: pathlib.Path) -> None:
    """Write the figures of every round as JSON."""
    path.write_bytes(_SAVED.dump_json(results, indent=2) + b"\n")


def load(path: pathlib.Path) -> BenchmarkResults:
    """Read what `save` has written.

    Raises:
        ValidationError: It has another shape.
    """
    return _SAVED.validate_json(path.read_bytes())


def provenance() -> Provenance:
    """Describe this machine, these versions, and this revision."""
    cores, memory = os.cpu_count(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return Provenance(
        revision=_revision(),
        day=f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}",
        machine=f"{cores} cores, {memory / 2**30:.0f} GiB, {platform.machine()}, {_processor()}",
        versions={
            "Python": platform.python_version(),
            **versions,
            "Kubernetes": assets.VERSION,
        },
    )


def render(template: pathlib.Path, **values: object) -> str:
    """Render figures as Markdown."""
    text: str = jinja2.Template(
        template.read_text(encoding="utf-8"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    ).render(values)
    return text


def _revision() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(  # noqa: S603 - our own arguments
            ["git", *arguments],  # noqa: S607 - whichever git there is
            cwd=_HERE,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    is_changed = bool(git("status", "--porcelain", "--untracked-files=no"))
    return git("rev-parse", "--short=12", "HEAD") + (", with changes" if is_changed else "")


def _processor() -> str:
    lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "processor unknown")
