"""The programs that judge what is in deploy and .github: built once, kept outside the work tree.

actionlint is in a module of its own, because it needs another version of a library than Helm.

`python -m tests.deploy.programs` builds them ahead. Without Go it says so and succeeds, for the
tests that need them are skipped; where CI=true it fails.
"""

import pathlib
import sys
from collections.abc import Callable

import typer

from tests import gobinaries

_MODULE = pathlib.Path(__file__).parent / "tools"
_LINTERS_MODULE = pathlib.Path(__file__).parents[1] / "release" / "tools"
_LINTERS = {"actionlint": "github.com/rhysd/actionlint/cmd/actionlint"}
_PROGRAMS = {
    "helm": "helm.sh/helm/v4/cmd/helm",
    "helm-docs": "github.com/norwoodj/helm-docs/cmd/helm-docs",
    "kustomize": "sigs.k8s.io/kustomize/kustomize/v5",
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
    gobinaries.built(_LINTERS_MODULE, _LINTERS, on_progress=on_progress)
    return gobinaries.built(_MODULE, _PROGRAMS, tags=_TAGS, on_progress=on_progress)


def built_or_skip() -> pathlib.Path:
    """Build the programs for a fixture: without Go, skip the test, or fail if CI=true."""
    return gobinaries.built_or_skip(_MODULE, _PROGRAMS, tags=_TAGS)


def actionlint_or_skip() -> pathlib.Path:
    """Build actionlint for a test: without Go, skip the test, or fail if CI=true."""
    return gobinaries.built_or_skip(_LINTERS_MODULE, _LINTERS) / "actionlint"


if __name__ == "__main__":
    try:
        typer.echo(f"Helm and the other programs are in {built(on_progress=typer.echo)}")
    except (gobinaries.GoMissing, gobinaries.BuildFailed) as fault:
        typer.echo(f"Helm and the other programs cannot be built: {fault}", err=True)
        is_fine = isinstance(fault, gobinaries.GoMissing) and not gobinaries.is_ci()
        sys.exit(0 if is_fine else 1)
