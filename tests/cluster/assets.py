"""The programs of the control plane: those of KUBEBUILDER_ASSETS, else built from Go, once."""

import contextlib
import os
import pathlib
from collections.abc import Callable

import typer

from tests import gobinaries

COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kwok",
    "kubectl",
)
VARIABLE = "KUBEBUILDER_ASSETS"
_MODULE = pathlib.Path(__file__).parent / "controlplane"
_PROGRAM = "controlplane"
VERSION = "1.37.2"
_MAJOR, _MINOR, _ = VERSION.split(".")
_SOURCE = "k8s.io/component-base/version"
_LDFLAGS = (
    f"-X {_SOURCE}.gitVersion=v{VERSION}",
    f"-X {_SOURCE}.gitMajor={_MAJOR}",
    f"-X {_SOURCE}.gitMinor={_MINOR}",
)


class AssetsMissing(Exception):
    """The programs are not there; the message says what to do about it."""


class AssetsIncomplete(Exception):
    """KUBEBUILDER_ASSETS names a folder that lacks some of the programs."""


def find() -> pathlib.Path:
    """The folder with all components.

    KUBEBUILDER_ASSETS is the convention of controller-runtime's envtest:
    https://book.kubebuilder.io/reference/envtest

    Raises:
        AssetsIncomplete: The folder that is named is not complete.
        AssetsMissing: None is named, and they have not been built.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return _checked(pathlib.Path(named))
    try:
        folder = gobinaries.already_built(_MODULE, {_PROGRAM: "."}, ldflags=_LDFLAGS)
    except gobinaries.GoMissing as missing:
        raise AssetsMissing(f"{VARIABLE} is not set, and {missing}") from missing
    if folder is None:
        raise AssetsMissing(f"{VARIABLE} is not set; `make cluster` builds them, once, in minutes")
    return _linked(folder)


def build(on_progress: Callable[[str], None]) -> pathlib.Path:
    """The folder with all components, built if nobody has provided or built them.

    Args:
        on_progress: Gets lines about a build.

    Raises:
        AssetsIncomplete: The folder that is named is not complete.
        AssetsMissing: None is named, and there is no Go to build with.
        BuildFailed: The compiler refused.
    """
    if not os.environ.get(VARIABLE):
        with contextlib.suppress(gobinaries.GoMissing):
            gobinaries.built(_MODULE, {_PROGRAM: "."}, ldflags=_LDFLAGS, on_progress=on_progress)
    return find()


def _linked(folder: pathlib.Path) -> pathlib.Path:
    """The program runs as the component whose name it is started by."""
    for component in COMPONENTS:
        with contextlib.suppress(FileExistsError):
            (folder / component).symlink_to(_PROGRAM)
    return folder


def _checked(folder: pathlib.Path) -> pathlib.Path:
    missing = [name for name in COMPONENTS if not os.access(folder / name, os.X_OK)]
    if missing:
        raise AssetsIncomplete(
            f"{VARIABLE}={folder} lacks {', '.join(missing)}: add them, or unset the variable and"
            " run `make cluster`"
        )
    return folder


def _main() -> None:
    """Build the control plane for the tests, once.

    Without Go it says so and succeeds, for those tests are skipped; where CI=true it fails.
    """
    try:
        typer.echo(f"the control plane is in {build(typer.echo)}")
    except AssetsMissing as missing:
        typer.echo(f"no control plane for the cluster tests: {missing}", err=True)
        raise typer.Exit(1 if gobinaries.is_ci() else 0) from missing
    except (AssetsIncomplete, gobinaries.BuildFailed) as fault:
        typer.echo(str(fault), err=True)
        raise typer.Exit(1) from fault


if __name__ == "__main__":
    typer.run(_main)
