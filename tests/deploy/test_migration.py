"""Load migrated settings of aws-node-termination-handler with the program and with Helm."""

import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest
import yaml

from queue_processor import settings
from tests import gobinaries
from tests.deploy import chart
from tests.deploy.chart import Helm
from tests.deploy.choices import NEEDED

DATA = pathlib.Path(__file__).parents[1] / "data" / "nth"
# The settings of variables.env.
VARIABLES = {
    "queue_url": "https://sqs.us-west-2.amazonaws.com/123456789012/nth",
    "managed_tag": "aws-node-termination-handler/managed",
    "drain": {"unknown_instance_policy": "release"},
    "log": {"format": "text", "level": "info"},
}
WEBHOOK = {"url_file": "/etc/queue-processor/webhooks/webhookurl", "template": "slack"}
EXPECTED: dict[str, dict[str, Any]] = {
    "values.yaml": {
        "queue_url": "https://sqs.eu-west-1.amazonaws.com/123456789012/nth-queue",
        "managed_tag": "aws-node-termination-handler/managed",
        "drain": {
            "unknown_instance_policy": "delete",
            "lifecycle_drain_timeout_seconds": 900,
            "taint_effect": "NoExecute",
            "out_of_service_taint": True,
        },
        "http": {"bind": ":9092"},
        "log": {"format": "json", "level": "debug"},
        "webhooks": [WEBHOOK],
    },
    "manifest.yaml": {
        **VARIABLES,
        "drain": {"unknown_instance_policy": "release", "taint_effect": "NoExecute"},
        "webhooks": [WEBHOOK],
    },
    "variables.env": VARIABLES,
}
NOTICES = {"sources": {"notices": {"enabled": True}}}
IMDS_SETTINGS: dict[str, dict[str, Any]] = {
    "imds.yaml": {
        **NOTICES,
        "actions": {
            "rebalance_recommendation": "cordon",
            "autoscaling_termination": "ignore",
            "scheduled_change": "ignore",
        },
        "log": {"format": "json"},
    },
    "daemonset.yaml": {
        **NOTICES,
        "actions": {
            "spot_interruption": "cordon",
            "capacity_reservation_interruption": "cordon",
            "rebalance_recommendation": "cordon",
            "autoscaling_termination": "ignore",
            "state_change": "cordon",
            "scheduled_change": "cordon",
        },
        "log": {"level": "info"},
    },
}

# Helm may have to be built first.
pytestmark = pytest.mark.timeout(gobinaries.BUILD_SECONDS)


def migrated(name: str, output: str) -> str:
    finished = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "queue_processor", "migrate", str(DATA / name), "--output", output],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    return finished.stdout


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove all settings from the environment."""
    for variable in [each for each in os.environ if each.startswith("QUEUE_PROCESSOR_")]:
        monkeypatch.delenv(variable)


def loaded(text: str, folder: pathlib.Path) -> settings.Settings:
    file = folder / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    return settings.load(file)


@pytest.mark.parametrize("name", [*EXPECTED, *IMDS_SETTINGS])
def test_the_program_loads_the_settings_file(name: str, tmp_path: pathlib.Path) -> None:
    result = loaded(migrated(name, "config"), tmp_path)

    expected = {**EXPECTED, **IMDS_SETTINGS}[name]
    assert result.model_dump(mode="json", exclude_unset=True) == expected


@pytest.mark.parametrize("name", [*EXPECTED, *IMDS_SETTINGS])
def test_the_chart_passes_the_same_settings_to_the_program(
    name: str, helm: Helm, tmp_path: pathlib.Path
) -> None:
    values = {**yaml.safe_load(migrated(name, "helm")), "image": NEEDED["image"]}

    documents = chart.documents(helm.template(values))

    (data,) = (each["data"] for each in documents if each["kind"] == "ConfigMap")
    result = loaded(data["settings.yaml"], tmp_path)
    assert result == loaded(migrated(name, "config"), tmp_path)


def test_the_other_values_of_the_chart_reach_the_pod(helm: Helm) -> None:
    values = {**yaml.safe_load(migrated("values.yaml", "helm")), "image": NEEDED["image"]}

    objects = {each["kind"]: each for each in chart.documents(helm.template(values))}

    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert objects["Deployment"]["spec"]["replicas"] == 2
    assert pod["nodeSelector"]["karpenter.sh/capacity-type"] == "on-demand"
    assert {"name": "webhooks", "secret": {"secretName": "nth-webhook"}} in pod["volumes"]
    assert pathlib.PurePath(WEBHOOK["url_file"]).parent in {
        pathlib.PurePath(mount["mountPath"]) for mount in container["volumeMounts"]
    }
    role = objects["ServiceAccount"]["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert role == "arn:aws:iam::123456789012:role/nth"
    assert objects["ServiceMonitor"]["metadata"]["labels"]["release"] == "kps"


# IMDS mode.

NOT_ON_FARGATE = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {
                    "matchExpressions": [
                        {
                            "key": "eks.amazonaws.com/compute-type",
                            "operator": "NotIn",
                            "values": ["fargate"],
                        }
                    ]
                }
            ]
        }
    }
}


def test_the_daemon_set_of_imds_mode_becomes_the_watcher(helm: Helm) -> None:
    values = {**yaml.safe_load(migrated("imds.yaml", "helm")), "image": NEEDED["image"]}

    objects = {each["kind"]: each for each in chart.documents(helm.template(values))}

    pod = objects["DaemonSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    endpoint = "http://imds.kube-system.svc:8169/nodes/$(NODE_NAME)"
    assert {"name": "IMDS_ENDPOINT", "value": endpoint} in container["env"]
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "lifecycle": "Ec2Spot"}
    assert pod["affinity"] == NOT_ON_FARGATE
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert "hostNetwork" not in pod
    assert "tolerations" not in objects["Deployment"]["spec"]["template"]["spec"]


def test_without_any_placement_the_watcher_is_on_every_node_as_nth_is(helm: Helm) -> None:
    values = {**yaml.safe_load(migrated("daemonset.yaml", "helm")), "image": NEEDED["image"]}

    objects = {each["kind"]: each for each in chart.documents(helm.template(values))}

    assert objects["DaemonSet"]["spec"]["template"]["spec"]["affinity"] == NOT_ON_FARGATE
