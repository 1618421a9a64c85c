"""The contract on imports names everything that the watcher must not import."""

import importlib.metadata
import pathlib
import tomllib

from packaging import requirements, utils

import queue_processor

ROOT = pathlib.Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ALLOWED = {"queue_processor.domain", "queue_processor.watcher"}


def forbidden() -> set[str]:
    (modules,) = (
        contract["forbidden_modules"]
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        if contract["name"] == "The watcher is small"
    )
    return set(modules)


def test_it_forbids_the_rest_of_the_package() -> None:
    package = pathlib.Path(queue_processor.__file__).parent
    entries = [path for path in package.iterdir() if not path.name.startswith(("__init__", "__py"))]
    names = {f"queue_processor.{path.stem}" for path in entries}

    assert names - ALLOWED == {name for name in forbidden() if name.startswith("queue_processor.")}


def test_it_forbids_every_dependency() -> None:
    declared = {requirements.Requirement(text).name for text in PROJECT["project"]["dependencies"]}
    modules = {
        module
        for module, distributions in importlib.metadata.packages_distributions().items()
        if not module.startswith("_")
        and {utils.canonicalize_name(name) for name in distributions} & declared
    }

    assert {"pydantic", "yaml"} <= modules
    assert modules <= forbidden()
