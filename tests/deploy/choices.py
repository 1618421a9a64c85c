"""Values of the chart: the required ones, and the combinations to test."""

from collections.abc import Mapping
from typing import Any

NEEDED: Mapping[str, Any] = {
    "settings": {"queue_url": "https://sqs.eu-west-1.amazonaws.com/123456789012/interruptions"},
    "image": {"repository": "registry.example/queue-processor"},
}
# With instance metadata as the only source.
WATCHED: Mapping[str, Any] = {"image": NEEDED["image"], "watcher": {"enabled": True}}
# The choices that add, remove or change objects.
CHOICES: Mapping[str, Mapping[str, Any]] = {
    "nothing chosen": NEEDED,
    "two replicas": {**NEEDED, "replicas": 2},
    "a role by IRSA": {
        **NEEDED,
        "serviceAccount": {"roleArn": "arn:aws:iam::123456789012:role/queue-processor"},
    },
    "a watcher and no queue": WATCHED,
    "another name": {**NEEDED, "nameOverride": "spot", "watcher": {"enabled": True}},
    "observing": {
        "settings": {**NEEDED["settings"], "mode": "observe"},
        "image": NEEDED["image"],
        "replicas": 2,
    },
    "everything off": {
        "settings": {**NEEDED["settings"], "leader_election": {"enabled": False}},
        "image": NEEDED["image"],
        "networkPolicy": {"enabled": False},
        "serviceAccount": {"create": False, "name": "made-elsewhere"},
        "priorityClassName": "",
        "nodeSelector": {"kubernetes.io/os": None},
    },
    "everything on": {
        "settings": {
            **NEEDED["settings"],
            "drain": {"on_deadline": "leave"},
            "http": {"bind": "[::]:9090"},
        },
        "image": {**NEEDED["image"], "digest": f"sha256:{'0' * 64}"},
        "imagePullSecrets": [{"name": "registry"}],
        "replicas": 3,
        "revisionHistoryLimit": 2,
        "fullnameOverride": "drains",
        "serviceAccount": {
            "name": "drainer",
            "roleArn": "arn:aws-cn:iam::123456789012:role/path/queue-processor",
            "annotations": {"example.com/team": "platform"},
        },
        "env": {
            "AWS_ENDPOINT_URL": "https://vpce.example",
            "AWS_MAX_ATTEMPTS": 5,
            "HTTPS_PROXY": {"valueFrom": {"secretKeyRef": {"name": "proxy", "key": "url"}}},
        },
        "resources": {"requests": {"cpu": "100m"}},
        "podLabels": {"team": "platform"},
        "podAnnotations": {"example.com/scrape": "true"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "topologySpreadConstraints": [
            {
                "topologyKey": "kubernetes.io/hostname",
                "maxSkew": 1,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": "queue-processor"}},
            }
        ],
        "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
        "terminationGracePeriodSeconds": 90,
        "watcher": {
            "enabled": True,
            "pollSeconds": 5,
            "metadataUrl": "http://imds.test.svc:8169/nodes/$(NODE_NAME)",
            "legacyPaths": True,
            "hostNetwork": False,
            "affinity": {"nodeAffinity": {}},
            "nodeSelector": {"team": "platform"},
            "tolerations": [{"key": "spot", "operator": "Exists"}],
            "priorityClassName": "",
            "resources": {"requests": {"cpu": "10m"}},
        },
        "volumes": [{"name": "hooks", "secret": {"secretName": "hooks"}}],
        "volumeMounts": [{"name": "hooks", "mountPath": "/etc/hooks", "readOnly": True}],
        "networkPolicy": {
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}],
            "egressPorts": [443],
            "instanceMetadata": True,
            "extraEgress": [{"ports": [{"protocol": "TCP", "port": 3128}]}],
        },
        "serviceMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}},
        "prometheusRule": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "runbookUrl": "https://example.com/runbook.md",
        },
        "dashboard": {"enabled": True, "annotations": {"grafana_folder": "AWS"}},
    },
}
