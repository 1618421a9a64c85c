"""The chart, rendered by Helm, and the files that are made from other files.

`python -m tests.deploy.chart` (`make manifests`) writes what the overlays in deploy/kustomize begin
with, which is the chart with a few values; the README of the chart; and the settings' part of its
values.schema.json, which is the schema of the program's settings.
"""

import dataclasses
import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, TypeAlias

import typer
import yaml

from queue_processor import settings
from tests import gobinaries
from tests.deploy import programs

JsonObject: TypeAlias = dict[str, Any]

DEPLOY = pathlib.Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "queue-processor"
SCHEMA = CHART / "values.schema.json"
README = CHART / "README.md"
NAMESPACE = "queue-processor"
RELEASE = "queue-processor"

_KUSTOMIZE = DEPLOY / "kustomize"
_NAMESPACE_MANIFEST = DEPLOY / "namespace.yaml"
_HEADER = """\
# `make manifests` generates this file from the chart in deploy/helm: change the chart instead.
"""
# A manifest that was not installed by Helm is not managed by it.
_OF_HELM = re.compile(r"^ *(?:app\.kubernetes\.io/managed-by|helm\.sh/chart): .*\n", re.MULTILINE)
# An overlay replaces it.
_IMAGE = {"repository": "queue-processor"}


@dataclasses.dataclass(frozen=True, slots=True)
class GeneratedManifest:
    """A file that an overlay begins with.

    Attributes:
        path: The file.
        values: The values of the chart.
        namespace: Where its objects are; those of kube-system do not come with their namespace.
    """

    path: pathlib.Path
    values: Mapping[str, Any]
    namespace: str = NAMESPACE

    def render(self, helm: "Helm") -> str:
        """Return its text; placeholders in it are not what the schema of the chart allows."""
        rendered = helm.template(self.values, "--skip-schema-validation", namespace=self.namespace)
        own = _NAMESPACE_MANIFEST.read_text(encoding="utf-8")
        begin = own if self.namespace == NAMESPACE else ""
        return _HEADER + "---\n" + begin + _OF_HELM.sub("", rendered)


BASE = GeneratedManifest(
    _KUSTOMIZE / "base" / "queue-processor.yaml",
    {"image": _IMAGE, "settings": {"queue_url": "REPLACE-WITH-THE-URL-OF-YOUR-QUEUE"}},
)
WATCHER = GeneratedManifest(
    _KUSTOMIZE / "watcher" / "queue-processor.yaml",
    {"image": _IMAGE, "watcher": {"enabled": True}},
    namespace="kube-system",
)
OBSERVER = GeneratedManifest(
    _KUSTOMIZE / "observe" / "queue-processor.yaml",
    {"image": _IMAGE, "settings": {**BASE.values["settings"], "mode": "observe"}},
)
MANIFESTS = (BASE, WATCHER, OBSERVER)


class HelmRefused(Exception):
    """Helm failed; the text is its output."""


@dataclasses.dataclass(frozen=True, slots=True)
class Helm:
    """Helm without a cluster, and with its files in a folder of its own.

    Attributes:
        program: Where it is.
        folder: Where it may write.
    """

    program: pathlib.Path
    folder: pathlib.Path

    def run(self, *arguments: str, values: Mapping[str, Any]) -> str:
        """Run Helm and return its output.

        Raises:
            HelmRefused: It failed.
        """
        finished = subprocess.run(  # noqa: S603 - our own arguments
            [str(self.program), *arguments, "--values=-"],
            input=json.dumps(values),
            capture_output=True,
            text=True,
            check=False,
            env={"HOME": str(self.folder), "PATH": ""},
        )
        if finished.returncode:
            raise HelmRefused(finished.stderr.strip() or finished.stdout.strip())
        return finished.stdout

    def template(
        self,
        values: Mapping[str, Any],
        *options: str,
        release: str = RELEASE,
        namespace: str = NAMESPACE,
    ) -> str:
        """The chart with these values, as text.

        Raises:
            HelmRefused: The chart does not take them.
        """
        place = (release, str(CHART), f"--namespace={namespace}")
        return self.run("template", *place, *options, values=values)

    def lint(self, values: Mapping[str, Any]) -> None:
        """See that Helm finds nothing to object to.

        Raises:
            HelmRefused: It does; warnings are enough.
        """
        self.run("lint", "--strict", str(CHART), values=values)


def documents(text: str) -> list[JsonObject]:
    """Parse the objects in a manifest."""
    return [document for document in yaml.safe_load_all(text) if document is not None]


def schema() -> str:
    """Return values.schema.json: the current file, with the settings of the program."""
    whole: JsonObject = json.loads(SCHEMA.read_text(encoding="utf-8"))
    own = settings.Settings.model_json_schema()
    whole["$defs"] = own.pop("$defs")
    whole["properties"]["settings"] = own
    return json.dumps(whole, indent=2) + "\n"


def write_readme(tools: pathlib.Path, folder: pathlib.Path) -> None:
    """Write the README of the chart that is in this folder."""
    options = ("--sort-values-order", "file", "--log-level", "warning")
    subprocess.run(  # noqa: S603 - our own arguments
        [str(tools / "helm-docs"), "--chart-search-root", str(folder), *options], check=True
    )


def _main() -> None:
    """Write the generated files."""
    folder = programs.built(on_progress=typer.echo)
    SCHEMA.write_text(schema(), encoding="utf-8")
    helm = Helm(program=folder / "helm", folder=folder)
    for manifest in MANIFESTS:
        manifest.path.write_text(manifest.render(helm), encoding="utf-8")
    write_readme(folder, CHART)
    paths = (SCHEMA, README, *(manifest.path for manifest in MANIFESTS))
    typer.echo("\n".join(f"{path.relative_to(DEPLOY.parent)} is up to date" for path in paths))


if __name__ == "__main__":
    try:
        _main()
    except (gobinaries.GoMissing, gobinaries.BuildFailed, HelmRefused) as fault:
        typer.echo(str(fault), err=True)
        sys.exit(1)
