"""Convert settings of aws-node-termination-handler into ours."""

import json
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import strategies

from queue_processor import settings
from queue_processor.domain import errors
from queue_processor.migration import conversion, converters, reading, table
from queue_processor.migration.conversion import Migration
from queue_processor.migration.table import Fate
from queue_processor.settings import groups

QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/nth"
QUEUE_MODE = {"enableSqsTerminationDraining": True, "queueURL": QUEUE}
TAG = "aws-node-termination-handler/managed"
HOOK = "https://hooks.slack.com/services/T/B/secret"

# Every environment variable that NTH v1.25 reads.
# https://github.com/aws/aws-node-termination-handler/blob/main/pkg/config/config.go
VARIABLES = (
    "AWS_ENDPOINT",
    "AWS_REGION",
    "CHECK_ASG_TAG_BEFORE_DRAINING",
    "CHECK_TAG_BEFORE_DRAINING",
    "COMPLETE_LIFECYCLE_ACTION_DELAY_SECONDS",
    "CORDON_ONLY",
    "DELETE_LOCAL_DATA",
    "DELETE_SQS_MSG_IF_NODE_NOT_FOUND",
    "DRY_RUN",
    "EMIT_KUBERNETES_EVENTS",
    "ENABLE_ASG_LIFECYCLE_DRAINING",
    "ENABLE_OUT_OF_SERVICE_TAINT",
    "ENABLE_PROBES_SERVER",
    "ENABLE_PROMETHEUS_SERVER",
    "ENABLE_REBALANCE_DRAINING",
    "ENABLE_REBALANCE_MONITORING",
    "ENABLE_SCHEDULED_EVENT_DRAINING",
    "ENABLE_SPOT_INTERRUPTION_DRAINING",
    "ENABLE_SQS_TERMINATION_DRAINING",
    "EXCLUDE_FROM_LOAD_BALANCERS",
    "GRACE_PERIOD",
    "HEARTBEAT_INTERVAL",
    "HEARTBEAT_UNTIL",
    "IGNORE_DAEMON_SETS",
    "INSTANCE_METADATA_URL",
    "JSON_LOGGING",
    "KUBERNETES_EVENTS_EXTRA_ANNOTATIONS",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "LOG_FORMAT_VERSION",
    "LOG_LEVEL",
    "MANAGED_ASG_TAG",
    "MANAGED_TAG",
    "METADATA_TRIES",
    "NAMESPACE",
    "NODE_NAME",
    "NODE_TERMINATION_GRACE_PERIOD",
    "POD_NAME",
    "POD_TERMINATION_GRACE_PERIOD",
    "PROBES_SERVER_ENDPOINT",
    "PROBES_SERVER_PORT",
    "PROMETHEUS_SERVER_PORT",
    "QUEUE_URL",
    "TAINT_EFFECT",
    "TAINT_NODE",
    "UPTIME_FROM_FILE",
    "USE_APISERVER_CACHE",
    "USE_PROVIDER_ID",
    "WEBHOOK_HEADERS",
    "WEBHOOK_PROXY",
    "WEBHOOK_TEMPLATE",
    "WEBHOOK_TEMPLATE_FILE",
    "WEBHOOK_URL",
    "WORKERS",
)


def migrated(text: str) -> Migration:
    return conversion.convert(reading.read(text))


def of_values(**values: object) -> Migration:
    """The migration of values of the chart in Queue Processor mode."""
    return migrated(yaml.safe_dump({**QUEUE_MODE, **values}))


def of_imds_values(**values: object) -> Migration:
    """The migration of values of the chart in IMDS mode, which is its default."""
    return migrated(yaml.safe_dump({"enableSqsTerminationDraining": False, **values}))


def ours(migration: Migration) -> dict[str, Any]:
    """Our settings, without those that every migration from one of the modes sets."""
    always = {"queue_url", "managed_tag", "sources"}
    made = conversion.tree(migration.settings)
    return {name: value for name, value in made.items() if name not in always}


def omitted(migration: Migration) -> dict[str, Fate]:
    """Omitted settings, without the one that stands for Queue Processor mode."""
    mode = {"enableSqsTerminationDraining", "ENABLE_SQS_TERMINATION_DRAINING"}
    return {each.name: each.fate for each in migration.omitted if each.name not in mode}


def test_every_setting_of_nth_is_in_the_table() -> None:
    names = {*table.CHART_KEYS, *table.OLD_NAMES}

    # The AWS SDK reads the keys of AWS.
    assert names == {*VARIABLES, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


@pytest.mark.parametrize(
    ("key", "value", "made"),
    [
        ("deleteSqsMsgIfNodeNotFound", True, {"drain": {"unknown_instance_policy": "delete"}}),
        ("deleteSqsMsgIfNodeNotFound", False, {"drain": {"unknown_instance_policy": "release"}}),
        ("nodeTerminationGracePeriod", 600, {"drain": {"lifecycle_drain_timeout_seconds": 600}}),
        ("nodeTerminationGracePeriod", 120, {}),
        ("taintEffect", "NoExecute", {"drain": {"taint_effect": "NoExecute"}}),
        ("enableOutOfServiceTaint", False, {"drain": {"out_of_service_taint": False}}),
        ("jsonLogging", True, {"log": {"format": "json"}}),
        ("jsonLogging", "F", {"log": {"format": "text"}}),
        ("logLevel", "DEBUG", {"log": {"level": "debug"}}),
        ("prometheusServerPort", 9092, {}),
        ("webhookURL", HOOK, {"webhooks": [{"url": HOOK, "template": "slack"}]}),
        ("cordonOnly", False, {}),
        ("dryRun", False, {}),
        ("dryRun", True, {"mode": "observe"}),
    ],
)
def test_a_value_of_the_chart_becomes_a_setting(
    key: str, value: object, made: dict[str, Any]
) -> None:
    assert ours(of_values(**{key: value})) == made


def test_an_action_for_all_events_is_set_for_each_kind_but_launches() -> None:
    actions = ours(of_values(cordonOnly=True))["actions"]

    assert set(actions.values()) == {"cordon"}
    assert set(actions) == set(groups.ActionSettings.model_fields) - {"autoscaling_launch"}


def test_a_dry_run_observes_what_would_be_cordoned_only() -> None:
    made = ours(of_values(dryRun=True, cordonOnly=True))

    assert made["mode"] == "observe"
    assert set(made["actions"].values()) == {"cordon"}


@pytest.mark.parametrize(
    ("values", "tag"),
    [
        ({}, TAG),
        ({"managedTag": "team/managed"}, "team/managed"),
        ({"managedAsgTag": "old", "checkASGTagBeforeDraining": True}, "old"),
        ({"managedAsgTag": "old", "managedTag": "new"}, "new"),
        ({"managedTag": "new", "managedAsgTag": "old"}, "new"),
        ({"checkTagBeforeDraining": False}, None),
        ({"checkTagBeforeDraining": False, "managedTag": "team/managed"}, None),
        ({"checkASGTagBeforeDraining": False, "checkTagBeforeDraining": True}, TAG),
    ],
    ids=str,
)
def test_only_instances_with_the_tag_are_drained_unless_nth_drains_all(
    values: dict[str, object], tag: str | None
) -> None:
    made = conversion.tree(of_values(**values).settings)

    assert made.get("managed_tag") == tag


def test_the_port_of_the_metrics_is_converted_if_nth_serves_them() -> None:
    made = ours(of_values(enablePrometheusServer=True, prometheusServerPort=9092))

    assert made == {"http": {"bind": ":9092"}}


def test_a_url_in_a_secret_stays_in_the_secret() -> None:
    by_chart = of_values(webhookURLSecretName="slack")
    by_variable = migrated(
        yaml.safe_dump(
            [
                {"name": "ENABLE_SQS_TERMINATION_DRAINING", "value": "true"},
                {"name": "QUEUE_URL", "value": QUEUE},
                {
                    "name": "WEBHOOK_URL",
                    "valueFrom": {"secretKeyRef": {"name": "slack", "key": "webhookurl"}},
                },
            ]
        )
    )

    file = "/etc/queue-processor/webhooks/webhookurl"
    for migration in (by_chart, by_variable):
        assert ours(migration) == {"webhooks": [{"url_file": file, "template": "slack"}]}
        made = conversion.tree(migration.chart)
        assert made["volumes"] == [{"name": "webhooks", "secret": {"secretName": "slack"}}]
        assert made["volumeMounts"][0]["mountPath"] == "/etc/queue-processor/webhooks"


def test_values_of_the_chart_become_values_of_ours() -> None:
    migration = of_values(
        replicas=2,
        awsRegion="eu-west-1",
        serviceAccount={
            "create": True,
            "annotations": {
                "eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/nth",
                "team": "platform",
            },
        },
        tolerations=[{"operator": "Exists"}],
        serviceMonitor={"create": True, "interval": "15s", "labels": {"release": "prometheus"}},
        extraEnv=[
            {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
            {"name": "LOG_LEVEL", "value": "debug"},
        ],
    )

    assert conversion.tree(migration.chart) == {
        "env": {"AWS_REGION": "eu-west-1", "HTTPS_PROXY": "http://proxy:3128"},
        "replicas": 2,
        "serviceAccount": {
            "roleArn": "arn:aws:iam::123456789012:role/nth",
            "annotations": {"team": "platform"},
        },
        "serviceMonitor": {
            "enabled": True,
            "interval": "15s",
            "labels": {"release": "prometheus"},
        },
        "tolerations": [{"operator": "Exists"}],
    }
    assert ours(migration) == {"log": {"level": "debug"}}


# IMDS mode.

REBALANCE = {"rebalance_recommendation": "ignore"}


@pytest.mark.parametrize(
    ("values", "actions"),
    [
        ({}, REBALANCE),
        ({"enableSpotInterruptionDraining": True, "enableScheduledEventDraining": True}, REBALANCE),
        ({"enableSpotInterruptionDraining": False}, {**REBALANCE, "spot_interruption": "ignore"}),
        ({"enableScheduledEventDraining": "false"}, {**REBALANCE, "scheduled_change": "ignore"}),
        ({"enableASGLifecycleDraining": False}, {**REBALANCE, "autoscaling_termination": "ignore"}),
        ({"enableRebalanceMonitoring": True}, {"rebalance_recommendation": "cordon"}),
        ({"enableRebalanceDraining": True}, {}),
        ({"enableRebalanceMonitoring": True, "enableRebalanceDraining": True}, {}),
    ],
    ids=str,
)
def test_what_nth_leaves_alone_in_imds_mode_is_left_alone(
    values: dict[str, object], actions: dict[str, str]
) -> None:
    made = ours(of_imds_values(**values))

    assert made == ({"actions": actions} if actions else {})


def test_what_nth_leaves_alone_is_not_cordoned_by_cordon_only() -> None:
    disabled = {"enableSpotInterruptionDraining": False, "enableRebalanceDraining": True}
    actions = ours(of_imds_values(cordonOnly=True, **disabled))["actions"]

    assert actions["spot_interruption"] == "ignore"
    assert actions["rebalance_recommendation"] == "cordon"


def test_a_dry_run_in_imds_mode_keeps_the_actions_and_observes() -> None:
    made = ours(of_imds_values(dryRun=True, enableRebalanceMonitoring=True))

    assert made == {"mode": "observe", "actions": {"rebalance_recommendation": "cordon"}}


def test_imds_mode_is_the_default_and_has_no_queue_and_no_tag() -> None:
    migration = migrated(yaml.safe_dump({"queueURL": QUEUE, "managedTag": TAG}))

    assert conversion.tree(migration.settings) == {
        "sources": {"notices": {"enabled": True}},
        "actions": REBALANCE,
    }
    assert conversion.tree(migration.chart)["watcher"]["enabled"] is True
    assert omitted(migration) == {"queueURL": Fate.NOT_NEEDED, "managedTag": Fate.NOT_NEEDED}


def test_the_values_of_the_daemon_set_become_those_of_the_watcher() -> None:
    migration = of_imds_values(
        instanceMetadataURL="http://imds:8169/nodes/$(NODE_NAME)",
        useHostNetwork=False,
        daemonsetPriorityClassName="nodes",
        daemonsetTolerations=[{"key": "spot"}],
        priorityClassName="system-cluster-critical",
        metadataTries=5,
        targetNodeOs="linux windows",
        windowsTolerations=[{"key": "windows"}],
    )

    watcher = conversion.tree(migration.chart)["watcher"]
    assert watcher.pop("affinity") == table.DEFAULTS["daemonsetAffinity"]
    assert watcher == {
        "enabled": True,
        "metadataUrl": "http://imds:8169/nodes/$(NODE_NAME)",
        "hostNetwork": False,
        "priorityClassName": "nodes",
        "tolerations": [{"key": "spot"}],
    }
    assert omitted(migration) == {
        "targetNodeOs": Fate.UNSUPPORTED,
        "windowsTolerations": Fate.UNSUPPORTED,
        "metadataTries": Fate.NOT_NEEDED,
        "priorityClassName": Fate.NOT_NEEDED,
    }


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("NodeSelector", "nodeSelector"),
        ("Affinity", "affinity"),
        ("Tolerations", "tolerations"),
    ],
)
def test_the_placement_for_linux_precedes_the_general_one_as_in_nth(kind: str, value: str) -> None:
    """https://github.com/aws/aws-node-termination-handler/tree/v1.25.0/config/helm/."""
    # The chart names them alike, and linuxAffinity and the like precede its general value.
    names = (f"linux{kind}", value, f"daemonset{kind}")
    values = {name: {"from": name} for name in names}

    for name in names:
        watcher = conversion.tree(of_imds_values(**values).chart)["watcher"]
        assert watcher[value] == {"from": name}
        del values[name]


def test_the_values_of_the_daemon_set_do_nothing_in_queue_processor_mode() -> None:
    migration = of_values(
        useHostNetwork=True,
        daemonsetTolerations=[{"operator": "Exists"}],
        linuxAffinity={"nodeAffinity": {}},
        instanceMetadataURL="http://imds:8169",
        enableSpotInterruptionDraining=False,
        windowsPodLabels={"a": "b"},
        tolerations=[{"key": "system"}],
    )

    assert conversion.tree(migration.chart) == {"tolerations": [{"key": "system"}]}
    assert ours(migration) == {}
    assert set(omitted(migration).values()) == {Fate.NOT_NEEDED}


def test_settings_that_are_not_migrated_are_listed_worst_first() -> None:
    migration = of_values(
        workers=10,
        taintNode=False,
        webhookTemplate="{}",
        linuxTolerations=[{"operator": "Exists"}],
        madeUp=1,
    )

    assert list(omitted(migration).items()) == [
        ("madeUp", Fate.UNSUPPORTED),
        ("webhookTemplate", Fate.UNSUPPORTED),
        ("taintNode", Fate.DIFFERENT),
        ("workers", Fate.NOT_NEEDED),
        ("linuxTolerations", Fate.NOT_NEEDED),
    ]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"cordonOnly": "perhaps"}, "cordonOnly"),
        ({"nodeTerminationGracePeriod": "long"}, "nodeTerminationGracePeriod"),
        ({"nodeTerminationGracePeriod": 10**9}, "nodeTerminationGracePeriod"),
        ({"taintEffect": "NoWay"}, "taintEffect"),
        ({"logLevel": "loud"}, "logLevel"),
        ({"webhookURL": "ftp://somewhere"}, "webhookURL"),
        ({"webhookURLSecretName": "../etc"}, "webhookURLSecretName"),
        ({"queueURL": "nth-queue"}, "queueURL"),
        ({"queueURL": ["a", "b"]}, "queueURL"),
        ({"enablePrometheusServer": True, "prometheusServerPort": 0}, "prometheusServerPort"),
        ({"serviceAccount": "nth"}, "serviceAccount"),
        ({"extraEnv": {"\x1f": "value"}}, "extraEnv"),
    ],
    ids=str,
)
def test_an_invalid_value_is_listed_and_left_out(values: dict[str, object], name: str) -> None:
    migration = of_values(**values)

    assert omitted(migration)[name] is Fate.UNSUPPORTED
    made = (*migration.settings.values(), *migration.chart.values())
    assert all(put.origin != name for put in made)


def test_a_value_that_is_not_in_the_file_is_listed_and_left_out() -> None:
    reference = {"configMapKeyRef": {"name": "nth", "key": "queue"}}
    mode = {"name": "ENABLE_SQS_TERMINATION_DRAINING", "value": "true"}
    migration = migrated(yaml.safe_dump([mode, {"name": "QUEUE_URL", "valueFrom": reference}]))

    assert omitted(migration) == {"QUEUE_URL": Fate.UNSUPPORTED}
    assert ("queue_url",) not in migration.settings


def test_headers_in_a_secret_stay_there() -> None:
    reference = {"secretKeyRef": {"name": "nth", "key": "headers"}}
    migration = migrated(yaml.safe_dump([{"name": "WEBHOOK_HEADERS", "valueFrom": reference}]))

    assert omitted(migration) == {"WEBHOOK_HEADERS": Fate.DIFFERENT}


def test_every_converter_is_used() -> None:
    used = {rule.convert for rules in table.RULES.values() for rule in rules}

    assert used == set(converters.CONVERTERS.values())


def test_headers_are_not_printed() -> None:
    headers = {"Content-type": "application/json", "Authorization": "Bearer secret"}
    migration = of_values(webhookURL=HOOK, webhookHeaders=json.dumps(headers))

    assert omitted(migration)["webhookHeaders"] is Fate.DIFFERENT
    for text in (conversion.settings_file(migration), str(migration.omitted)):
        assert "Bearer" not in text


ENV_LIST = [
    {"name": "ENABLE_SQS_TERMINATION_DRAINING", "value": "true"},
    {"name": "QUEUE_URL", "value": QUEUE},
    {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    {"name": "CHECK_TAG_BEFORE_DRAINING", "value": "false"},
    {"name": "TAINT_EFFECT", "value": "NoExecute"},
]
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "spec": {
        "template": {
            "spec": {"containers": [{"name": "sidecar"}, {"name": "nth", "env": ENV_LIST}]}
        }
    },
}
OTHER = {
    "kind": "Deployment",
    "spec": {"template": {"spec": {"containers": [{"env": [{"name": "WORKERS", "value": "1"}]}]}}},
}
LINES = f"""
# NTH
ENABLE_SQS_TERMINATION_DRAINING=true
QUEUE_URL={QUEUE}
export CHECK_TAG_BEFORE_DRAINING=false
TAINT_EFFECT='NoExecute'
"""
MAPPING = f"""
ENABLE_SQS_TERMINATION_DRAINING: "true"
QUEUE_URL: {QUEUE}
CHECK_TAG_BEFORE_DRAINING: "false"
TAINT_EFFECT: NoExecute
"""
VALUES = {**QUEUE_MODE, "checkTagBeforeDraining": False, "taintEffect": "NoExecute"}


@pytest.mark.parametrize(
    "text",
    [
        yaml.safe_dump(VALUES),
        yaml.safe_dump({"aws-node-termination-handler": VALUES, "other": {}}),
        yaml.safe_dump(ENV_LIST),
        yaml.safe_dump({"env": ENV_LIST}),
        yaml.safe_dump(DEPLOYMENT),
        yaml.safe_dump_all([{"kind": "ServiceAccount"}, OTHER, DEPLOYMENT, None]),
        yaml.safe_dump({"kind": "List", "items": [OTHER, DEPLOYMENT]}),
        json.dumps(DEPLOYMENT),
        LINES,
        MAPPING,
    ],
    ids=[
        *("values", "subchart", "list", "env", "manifest", "manifests", "items", "json"),
        *("lines", "mapping"),
    ],
)
def test_every_supported_format_is_read(text: str) -> None:
    assert conversion.tree(migrated(text).settings) == {
        "queue_url": QUEUE,
        "drain": {"taint_effect": "NoExecute"},
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "nothing is set"),
        ("null", "nothing is set in it; if all is NTH's default, read `helm get values --all`"),
        ("queueURL: ''", "nothing is set"),
        ("just text", "or environment variables"),
        ("a: [", "neither YAML nor KEY=VALUE"),
        ("a: 1\n---\nb: 2", "or environment variables"),
        ("[" * 5000, "nested too deeply"),
        ("when: 2026-99-99", "not valid YAML"),
        ("replicaCount: 2\n", "not contain a setting of aws-node-termination-handler"),
        ("- 1\n", "not an environment variable"),
        ("- {name: 'a b', value: c}\n", "not a name of an environment variable"),
        ("kind: Deployment\n", "not contain a container with environment variables"),
        ("x" * 2_000_000, "larger than"),
    ],
    ids=lambda text: text[:40],
)
def test_an_input_that_cannot_be_read_raises_an_error_of_one_line(text: str, reason: str) -> None:
    with pytest.raises(errors.UsageError, match=reason) as raised:
        migrated(text)

    assert "\n" not in str(raised.value)


def test_names_from_the_file_cannot_break_out_of_their_comment() -> None:
    migration = of_values(**{"linux\nqueue_url: evil": 1})

    assert list(omitted(migration)) == ["linux?queue_url: evil"]


VALUE = strategies.one_of(
    strategies.text(max_size=20),
    strategies.integers(),
    strategies.booleans(),
    strategies.none(),
    strategies.lists(strategies.text(max_size=5), max_size=2),
    strategies.dictionaries(strategies.text(max_size=5), strategies.text(max_size=5), max_size=2),
    strategies.sampled_from(["true", "false", "0", "600", QUEUE, HOOK, "NoExecute", "debug"]),
)
NAME = strategies.sampled_from(
    [*table.RULES, *filter(None, table.CHART_KEYS.values()), *table.OLD_NAMES, "madeUp"]
)


@hypothesis.given(strategies.dictionaries(NAME, VALUE, min_size=1, max_size=8))
def test_the_result_can_be_loaded_for_any_values(
    values: dict[str, object],
) -> None:
    text = yaml.safe_dump(values)
    try:
        migration = migrated(text)
    except errors.UsageError as error:
        assert "\n" not in str(error)  # noqa: PT017 the other outcome is tested below
        return

    written = yaml.safe_load(conversion.settings_file(migration)) or {}
    below = yaml.safe_load(conversion.chart_values(migration))["settings"]
    assert written == below == conversion.tree(migration.settings)
    settings.ToolSettings(**written)


@hypothesis.given(strategies.text(max_size=200))
def test_any_text_is_read_or_rejected(text: str) -> None:
    try:
        migrated(text)
    except errors.UsageError as error:
        assert "\n" not in str(error)  # noqa: PT017 every other exception fails the test
