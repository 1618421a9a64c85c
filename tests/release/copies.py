"""Copies of the project, in which commands may change and install what they like."""

import pathlib
import shutil
from collections.abc import Iterable

from deploy import release


def copy_project(names: Iterable[str], folder: pathlib.Path) -> None:
    """Copy files and folders of the project into an existing folder."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in names:
        source = release.ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
