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
    """KUBEBUILDER_ASSETS names a folder that lacks some of the programs."""


def find(*, tell: Callable[[str], None] = lambda _: None) -> pathlib.Path:
    """The folder with all components; builds them when nobody provides them.

    KUBEBUILDER_ASSETS is the convention of controller-runtime's envtest:
    https://book.kubebuilder.io/reference/envtest

    Args:
        tell: Gets a line at the start and at the end of a build.

    Raises:
        AssetsMissing: The folder that is named is not complete.
        GoMissing: Nothing is named, and there is no Go to build with.
    """
    named = os.environ.get("KUBEBUILDER_ASSETS")
    if named:
        return _checked(pathlib.Path(named))
    folder = gobinaries.built(_MODULE, {_PROGRAM: "."}, ldflags=_LDFLAGS, tell=tell)
    return _linked(folder)


def _linked(folder: pathlib.Path) -> pathlib.Path:
    """The program runs as the component whose name it is started by."""
    for component in COMPONENTS:
        with contextlib.suppress(FileExistsError):
            (folder / component).symlink_to(_PROGRAM)
    return folder


def _checked(folder: pathlib.Path) -> pathlib.Path:
    missing = [name for name in COMPONENTS if not os.access(folder / name, os.X_OK)]
    if missing:
        raise AssetsMissing(
            f"KUBEBUILDER_ASSETS={folder} lacks {', '.join(missing)}: add them, or unset the"
            " variable and have them built by `make cluster`"
        )
    return folder


if __name__ == "__main__":
    typer.echo(f"The control plane is in {find(tell=typer.echo)}")
