"""checkov on the templates with their parameters."""

import json
import os
import pathlib
import subprocess
from collections.abc import Mapping

import pytest

from queue_processor.simulator.aws import simulator
from tests import pyenvironments
from tests.infra import templates

pytestmark = [pytest.mark.built, pytest.mark.timeout(pyenvironments.INSTALL_SECONDS)]

# Findings that are none, each with its reason. One that is no longer found has to go.
ACCEPTED: Mapping[str, str] = {
    "CKV_AWS_27": "without a KMS key SQS encrypts the queue itself (SqsManagedSseEnabled), which"
    " this check does not look at",
}


def findings(folder: pathlib.Path) -> set[tuple[str, str, str]]:
    """File, resource and check of everything that checkov finds fault with."""
    python = pyenvironments.python_of(pathlib.Path(__file__).with_name("checkov.lock"))
    finished = subprocess.run(  # noqa: S603 a package of the lock file
        [
            *(python, "-m", "checkov.main", "--directory", folder),
            *("--framework", "cloudformation", "--skip-download", "--output", "json"),
        ],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(finished.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 0
    return {
        (
            pathlib.Path(finding["file_path"]).stem,
            finding["resource"].rpartition(".")[2],
            finding["check_id"],
        )
        for finding in report["results"]["failed_checks"]
    }


def test_checkov_finds_only_what_has_a_reason(
    aws: simulator.AwsSimulator, tmp_path: pathlib.Path
) -> None:
    for name, (parameters, template) in templates.VARIANTS.items():
        resources = templates.rendered(aws, parameters, template)
        (tmp_path / f"{name}.json").write_text(json.dumps({"Resources": resources}))

    assert findings(tmp_path) == {
        ("no role", queue, check) for queue in ("Queue", "DeadLetterQueue") for check in ACCEPTED
    }


def test_checkov_would_find_something(tmp_path: pathlib.Path) -> None:
    open_role = {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {
                "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}]
            }
        },
    }
    topic = {"Type": "AWS::SNS::Topic", "Properties": {}}
    template = {"Resources": {"Open": open_role, "Topic": topic}}
    (tmp_path / "open.json").write_text(json.dumps(template))

    assert ("open", "Topic", "CKV_AWS_26") in findings(tmp_path)
