"""The chart, rendered by Helm, and the two files that are made from other files.

`python -m tests.deploy.chart` (`make manifests`) writes deploy/queue-processor.yaml, which is the
chart with the values of deploy/manifest-values.yaml, and the settings' part of the chart's
values.schema.json, which is the schema of the program's settings.
"""

import dataclasses
import json
import pathlib
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
MANIFEST = DEPLOY / "queue-processor.yaml"
NAMESPACE = "queue-processor"
RELEASE = "queue-processor"

_NAMESPACE_MANIFEST = DEPLOY / "namespace.yaml"
_MANIFEST_VALUES = DEPLOY / "manifest-values.yaml"

_HEADER = f"""\
# queue-processor, for `kubectl apply -f`. First fill in the four values marked REPLACE-... With
# EKS Pod Identity, remove the annotation with the role.
#
# The settings are in the ConfigMap, and are read at the start only. After a change, run
# `kubectl --namespace {NAMESPACE} rollout restart deployment/{RELEASE}`.
#
# `make manifests` generates this file from the chart in deploy/helm: change the chart instead.
"""


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


def manifest(helm: Helm) -> str:
    """Return deploy/queue-processor.yaml.

    Its values are placeholders, which the schema of the chart does not allow.
    """
    values = yaml.safe_load(_MANIFEST_VALUES.read_text(encoding="utf-8"))
    rendered = helm.template(values, "--skip-schema-validation")
    return _HEADER + "---\n" + _NAMESPACE_MANIFEST.read_text(encoding="utf-8") + rendered


def schema() -> str:
    """Return values.schema.json: the current file, with the settings of the program."""
    whole: JsonObject = json.loads(SCHEMA.read_text(encoding="utf-8"))
    own = settings.Settings.model_json_schema()
    whole["$defs"] = own.pop("$defs")
    whole["properties"]["settings"] = own
    return json.dumps(whole, indent=2) + "\n"


def _main() -> None:
    """Write the generated files."""
    folder = programs.built(on_progress=typer.echo)
    SCHEMA.write_text(schema(), encoding="utf-8")
    helm = Helm(program=folder / "helm", folder=folder)
    MANIFEST.write_text(manifest(helm), encoding="utf-8")
    typer.echo(f"{SCHEMA.name} and {MANIFEST.name} are up to date")


if __name__ == "__main__":
    try:
        _main()
    except (gobinaries.GoMissing, gobinaries.BuildFailed, HelmRefused) as fault:
        typer.echo(str(fault), err=True)
        sys.exit(1)
