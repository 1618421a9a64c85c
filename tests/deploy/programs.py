"""The programs that judge the chart, Helm and promtool: built once, kept outside the work tree.

`python -m tests.deploy.programs` builds them ahead. Without Go it says so and succeeds, for the
tests that need them are skipped; where CI=true it fails.
"""

import pathlib
import sys
from collections.abc import Callable

import typer

from tests import gobinaries

_MODULE = pathlib.Path(__file__).parent / "tools"
_PROGRAMS = {
    "helm": "helm.sh/helm/v4/cmd/helm",
    "promtool": "github.com/prometheus/prometheus/cmd/promtool",
}
# Without the clients of all the clouds in which Prometheus can discover targets.
_TAGS = ("remove_all_sd",)


def built(*, on_progress: Callable[[str], None] = lambda _: None) -> pathlib.Path:
    """The folder that holds them.

    Raises:
        GoMissing: There is no Go to build with.
        BuildFailed: They cannot be built.
    """
    return gobinaries.built(_MODULE, _PROGRAMS, tags=_TAGS, on_progress=on_progress)


def built_or_skip() -> pathlib.Path:
    """Build the programs for a fixture: without Go, skip the test, or fail if CI=true."""
    return gobinaries.built_or_skip(_MODULE, _PROGRAMS, tags=_TAGS)


if __name__ == "__main__":
    try:
        typer.echo(f"Helm and promtool are in {built(on_progress=typer.echo)}")
    except (gobinaries.GoMissing, gobinaries.BuildFailed) as fault:
        typer.echo(f"helm and promtool cannot be built: {fault}", err=True)
        is_fine = isinstance(fault, gobinaries.GoMissing) and not gobinaries.is_ci()
        sys.exit(0 if is_fine else 1)
