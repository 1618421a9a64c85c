"""The definitions of the Prometheus operator's kinds, as the operator itself ships them."""

import json
import pathlib
import shutil
import subprocess

from tests import gobinaries

_MODULE = pathlib.Path(__file__).parent / "crds"
_SOURCE = "github.com/prometheus-operator/prometheus-operator"
_KINDS = ("servicemonitors", "prometheusrules")


def files_or_skip() -> list[pathlib.Path]:
    """Return the files from the Go module cache; go.sum pins their checksums.

    Raises:
        CalledProcessError: Go cannot get them; `stderr` has the reason.
    """
    go = shutil.which("go")
    if go is None:
        gobinaries.skip(f"{_SOURCE} cannot be had: there is no `go` on the PATH")
    finished = subprocess.run(  # noqa: S603 - our own arguments
        [go, "mod", "download", "-json", _SOURCE],
        cwd=_MODULE,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    folder = pathlib.Path(json.loads(finished.stdout)["Dir"]) / "example/prometheus-operator-crd"
    return [folder / f"monitoring.coreos.com_{kind}.yaml" for kind in _KINDS]
