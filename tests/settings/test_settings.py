import datetime as dt
import os
import pathlib
from typing import Any

import pydantic
import pytest

from queue_processor import settings
from queue_processor.domain import errors
from queue_processor.domain.events import EventKind, EventScope
from queue_processor.domain.plan import Action
from queue_processor.domain.policy import CompleteNeverJoined, UnknownInstancePolicy
from queue_processor.settings import groups

QUEUE_URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/interruptions"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(settings.ENVIRONMENT_PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which only the queue is set."""
    monkeypatch.setenv("QUEUE_PROCESSOR_QUEUE_URL", QUEUE_URL)
    return monkeypatch


def written(folder: pathlib.Path, text: str) -> pathlib.Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def in_groups(key: str, value: str) -> str:
    """Return a setting as YAML."""
    *groups_of_key, name = key.split(".")
    opened = "".join(f"{group}: {{" for group in groups_of_key)
    return f"{opened}{name}: {value}{'}' * len(groups_of_key)}\n"


def problems(config: pathlib.Path | None = None) -> list[str]:
    with pytest.raises(settings.SettingsError) as caught:
        settings.load(config)
    return str(caught.value).splitlines()


def value_of(loaded: settings.Settings, key: str) -> Any:  # noqa: ANN401 each has its own type
    value: Any = loaded
    for part in key.split("."):
        value = getattr(value, part)
    return value


# The settings.

DEFAULTS: dict[str, object] = {
    "queue_url": QUEUE_URL,
    "node_selector": "",
    "managed_tag": None,
    "actions.spot_interruption": "cordon-and-drain",
    "actions.capacity_reservation_interruption": "cordon-and-drain",
    "actions.rebalance_recommendation": "cordon-and-drain",
    "actions.autoscaling_termination": "cordon-and-drain",
    "actions.autoscaling_launch": "await-ready",
    "actions.state_change": "cordon-and-drain",
    "actions.scheduled_change": "cordon-and-drain",
    "sources.sqs.visibility_timeout_seconds": 30,
    "sources.notices.enabled": False,
    "sources.max_in_flight": 10_000,
    "drain.on_deadline": "delete",
    "drain.on_soft_timeout": "keep",
    "drain.soft_drain_timeout_seconds": 1800,
    "drain.lifecycle_drain_timeout_seconds": 3600,
    "drain.unknown_instance_grace_seconds": 60,
    "drain.unknown_instance_policy": "delete",
    "leader_election.enabled": True,
    "leader_election.namespace": None,
    "leader_election.lease_name": "queue-processor",
    "leader_election.lease_duration_seconds": 15,
    "leader_election.renew_deadline_seconds": 10,
    "leader_election.retry_period_seconds": 2,
    "http.bind": ":8080",
    "log.format": "auto",
    "log.level": "info",
}

OTHERS = {
    "node_selector": ("team=a,!spot", "team=a,!spot"),
    "managed_tag": ("our/tag", "our/tag"),
    "actions.spot_interruption": ("cordon", "cordon"),
    "actions.capacity_reservation_interruption": ("ignore", "ignore"),
    "actions.rebalance_recommendation": ("ignore", "ignore"),
    "actions.autoscaling_termination": ("cordon", "cordon"),
    "actions.autoscaling_launch": ("ignore", "ignore"),
    "actions.state_change": ("ignore", "ignore"),
    "actions.scheduled_change": ("cordon", "cordon"),
    "sources.sqs.visibility_timeout_seconds": ("120", 120),
    "sources.notices.enabled": ("true", True),
    "sources.max_in_flight": ("100", 100),
    "drain.on_deadline": ("leave", "leave"),
    "drain.on_soft_timeout": ("uncordon", "uncordon"),
    "drain.soft_drain_timeout_seconds": ("600.5", 600.5),
    "drain.lifecycle_drain_timeout_seconds": ("7200", 7200),
    "drain.unknown_instance_grace_seconds": ("0", 0),
    "drain.unknown_instance_policy": ("release", "release"),
    "leader_election.enabled": ("false", False),
    "leader_election.namespace": ("kube-system", "kube-system"),
    "leader_election.lease_name": ("other", "other"),
    "http.bind": ("[::1]:0", "[::1]:0"),
    "log.format": ("json", "json"),
    "log.level": ("debug", "debug"),
}


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("key", DEFAULTS)
def test_an_unset_setting_has_its_default(key: str) -> None:
    assert value_of(settings.load(), key) == DEFAULTS[key]


@pytest.mark.parametrize("key", OTHERS)
def test_a_setting_is_read_from_its_variable(key: str, environment: pytest.MonkeyPatch) -> None:
    text, value = OTHERS[key]
    environment.setenv("QUEUE_PROCESSOR_" + key.upper().replace(".", "__"), text)

    assert value_of(settings.load(), key) == value


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("key", OTHERS)
def test_a_setting_is_read_from_the_file(key: str, tmp_path: pathlib.Path) -> None:
    text, value = OTHERS[key]
    config = written(tmp_path, in_groups(key, f"'{text}'"))

    assert value_of(settings.load(config), key) == value


# Precedence.


def test_the_environment_takes_precedence_over_the_file_setting_by_setting(
    environment: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    config = written(
        tmp_path,
        "queue_url: https://sqs.local/1/from-file\n"
        "drain:\n  on_deadline: leave\n  soft_drain_timeout_seconds: 60\n",
    )
    environment.setenv("QUEUE_PROCESSOR_DRAIN__SOFT_DRAIN_TIMEOUT_SECONDS", "90")

    loaded = settings.load(config)

    assert loaded.queue_url == QUEUE_URL
    assert loaded.drain.soft_drain_timeout_seconds == 90
    assert loaded.drain.on_deadline is groups.OnDeadline.LEAVE
    assert loaded.drain.on_soft_timeout is groups.OnSoftTimeout.KEEP


def test_the_file_alone_is_sufficient(tmp_path: pathlib.Path) -> None:
    assert settings.load(written(tmp_path, f"queue_url: {QUEUE_URL}\n")).queue_url == QUEUE_URL


def test_a_variable_can_name_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    config = written(tmp_path, f"queue_url: {QUEUE_URL}\nlog: {{level: error}}\n")
    monkeypatch.setenv("QUEUE_PROCESSOR_CONFIG", str(config))

    assert settings.load().log.level is groups.LogLevel.ERROR


def test_a_file_argument_takes_precedence_over_the_variable(
    environment: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    environment.setenv("QUEUE_PROCESSOR_CONFIG", str(tmp_path / "missing.yaml"))

    assert settings.load(written(tmp_path, "log: {level: error}")).log.level == "error"


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_sets_nothing(text: str, tmp_path: pathlib.Path) -> None:
    assert settings.load(written(tmp_path, text)) == settings.load()


def test_a_dotenv_file_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / ".env").write_text(f"QUEUE_PROCESSOR_QUEUE_URL={QUEUE_URL}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    assert problems()[0].startswith("queue_url: not set")


# Unknown keys.


@pytest.mark.parametrize(
    "name",
    [
        "QUEUE_PROCESSOR_QUEUE_ULR",
        "QUEUE_PROCESSOR_",
        "QUEUE_PROCESSOR_LOG_LEVEL",
        "QUEUE_PROCESSOR_HTTP_PORT",
        "QUEUE_PROCESSOR_NOPE__DEEP",
        "QUEUE_PROCESSOR_QUEUE_URL__DEEP",
        "QUEUE_PROCESSOR_MANAGED_TAG__DEEP",
    ],
)
def test_an_unknown_variable_is_an_error(name: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv(name, "8080")

    assert problems() == [f"{name}: no such setting"]


@pytest.mark.parametrize("key", ["drain.nope", "actions.spot", "leader_election.name"])
def test_an_unknown_variable_of_a_group_is_an_error(
    key: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("QUEUE_PROCESSOR_" + key.upper().replace(".", "__"), "1")

    assert problems() == [f"{key}: no such setting"]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("nope: 1", "nope"),
        ("drain: {nope: 1}", "drain.nope"),
        ("queue-url: https://sqs.local/1/q", "queue-url"),
        ("_env_file: secrets", "_env_file"),
        ("_cli_parse_args: true", "_cli_parse_args"),
        ("1: 2", "1"),
        ("null: 2", "None"),
    ],
)
def test_an_unknown_key_in_the_file_is_an_error(
    text: str, key: str, tmp_path: pathlib.Path
) -> None:
    assert problems(written(tmp_path, text)) == [f"{key}: no such setting"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QUEUE_PROCESSOR_SERVICE_HOST", "10.0.0.1"),
        ("QUEUE_PROCESSOR_SERVICE_PORT", "8080"),
        ("QUEUE_PROCESSOR_SERVICE_PORT_HTTP", "8080"),
        ("QUEUE_PROCESSOR_PORT", "tcp://10.0.0.1:8080"),
        ("QUEUE_PROCESSOR_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("QUEUE_PROCESSOR_PORT_8080_TCP_PROTO", "tcp"),
        ("QUEUE_PROCESSOR_PORT_8080_TCP_PORT", "8080"),
        ("QUEUE_PROCESSOR_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("QUEUE_PROCESSOR_METRICS_SERVICE_HOST", "10.0.0.1"),
        ("QUEUE_PROCESSOR_METRICS_SERVICE_PORT", "8080"),
        ("QUEUE_PROCESSOR_METRICS_SERVICE_PORT_HTTP", "8080"),
        ("QUEUE_PROCESSOR_METRICS_PORT", "tcp://10.0.0.1:8080"),
        ("QUEUE_PROCESSOR_METRICS_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("QUEUE_PROCESSOR_METRICS_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("QUEUE_PROCESSOR_DNS_PORT_53_UDP_PROTO", "udp"),
    ],
)
def test_variables_of_a_kubernetes_service_with_our_name_are_ignored(
    name: str, value: str, environment: pytest.MonkeyPatch
) -> None:
    before = settings.load()
    environment.setenv(name, value)

    assert settings.load() == before


# Bad values.

BAD: list[tuple[str, str, str]] = [
    ("queue_url", "interruptions", "valid URL"),
    ("queue_url", "", "valid URL"),
    ("queue_url", "ftp://sqs.local/1/q", "'http' or 'https'"),
    ("queue_url", "https://sqs.local", "/ACCOUNT/NAME"),
    ("queue_url", "https://sqs.local/", "/ACCOUNT/NAME"),
    ("node_selector", "a in (", "list of label requirements"),
    ("node_selector", "a>1", "a in (b, c)"),
    ("managed_tag", "", "at least 1 character"),
    ("actions.spot_interruption", "drain", "'cordon-and-drain', 'cordon' or 'ignore'"),
    ("actions.spot_interruption", "await-ready", "'cordon-and-drain', 'cordon' or 'ignore'"),
    ("actions.spot_interruption", "uncordon", "'cordon-and-drain', 'cordon' or 'ignore'"),
    ("actions.autoscaling_launch", "cordon", "'await-ready' or 'ignore'"),
    ("sources.sqs.visibility_timeout_seconds", "5", "greater than or equal to 6"),
    ("sources.sqs.visibility_timeout_seconds", "43201", "less than or equal to 43200"),
    ("sources.sqs.visibility_timeout_seconds", "30s", "valid integer"),
    ("sources.sqs.wait_time_seconds", "21", "less than or equal to 20"),
    ("drain.on_deadline", "kill", "'delete' or 'leave'"),
    ("drain.on_soft_timeout", "drop", "'keep' or 'uncordon'"),
    ("drain.soft_drain_timeout_seconds", "0", "greater than 0"),
    ("drain.soft_drain_timeout_seconds", "inf", "finite number"),
    ("drain.lifecycle_drain_timeout_seconds", "-1", "greater than 0"),
    ("drain.lifecycle_drain_timeout_seconds", "nan", "finite number"),
    ("drain.unknown_instance_grace_seconds", "-1", "greater than or equal to 0"),
    ("drain.unknown_instance_policy", "keep", "'delete' or 'release'"),
    ("drain.taint_effect", "noschedule", "'NoSchedule', 'PreferNoSchedule' or 'NoExecute'"),
    ("leader_election.enabled", "perhaps", "boolean"),
    ("leader_election.namespace", "", "at least 1 character"),
    ("http.bind", "8080", ":"),
    ("http.bind", "localhost:http", ":"),
    ("http.bind", "localhost:65536", "0 to 65535"),
    ("log.format", "xml", "'auto', 'json' or 'text'"),
    ("log.level", "INFO", "'debug', 'info', 'warning' or 'error'"),
]


@pytest.mark.parametrize(("key", "value", "allowed"), BAD)
def test_a_bad_variable_is_one_line_with_key_value_and_allowed_values(
    key: str, value: str, allowed: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("QUEUE_PROCESSOR_" + key.upper().replace(".", "__"), value)

    (line,) = problems()

    assert line.startswith(f"{key}: {value!r} is not allowed: ")
    assert allowed in line.partition(" is not allowed: ")[2]


@pytest.mark.parametrize(("key", "value", "allowed"), BAD)
def test_a_bad_value_in_the_file_is_one_line_with_key_value_and_allowed_values(
    key: str, value: str, allowed: str, tmp_path: pathlib.Path
) -> None:
    text = in_groups(key, f"'{value}'")
    config = written(tmp_path, text if key == "queue_url" else f"queue_url: {QUEUE_URL}\n{text}")

    (line,) = problems(config)

    assert line.startswith(f"{key}: {value!r} is not allowed: ")
    assert allowed in line.partition(" is not allowed: ")[2]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("drain: 7", "drain: 7 is not allowed"),
        ("drain: [delete]", "drain: ['delete'] is not allowed"),
        ("drain:", "drain: None is not allowed"),
        ("drain: {on_deadline: {delete: true}}", "drain.on_deadline: {'delete': True} is not"),
        ("drain: {1: 2}", "drain.1"),
        ("log: {level: no}", "log.level: False is not allowed"),
    ],
)
def test_a_value_of_a_wrong_type_is_one_line_with_its_key(
    text: str, start: str, tmp_path: pathlib.Path
) -> None:
    (line,) = problems(written(tmp_path, text))

    assert line.startswith(start)


def test_the_error_about_a_missing_queue_explains_how_to_set_it() -> None:
    (line,) = problems()

    assert line == (
        "queue_url: not set; set QUEUE_PROCESSOR_QUEUE_URL or `queue_url` in the settings file, or"
        " enable `sources.notices` to work without a queue"
    )


def test_with_notices_no_queue_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE_PROCESSOR_SOURCES__NOTICES__ENABLED", "true")

    assert settings.load().queue_url is None


def test_the_error_about_a_group_that_is_not_json_explains_how_to_set_it(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("QUEUE_PROCESSOR_DRAIN", "leave")

    (line,) = problems()

    assert line.startswith("QUEUE_PROCESSOR_DRAIN: 'leave' is not allowed: ")
    assert "QUEUE_PROCESSOR_DRAIN__" in line


def test_all_errors_of_all_sources_are_reported_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    config = written(tmp_path, "nope: 1\nlog: {level: loud, colour: red}\n")
    monkeypatch.setenv("QUEUE_PROCESSOR_TYPO", "1")
    monkeypatch.setenv("QUEUE_PROCESSOR_DRAIN__ON_DEADLINE", "kill")

    keys = sorted(line.partition(":")[0] for line in problems(config))

    assert keys == [
        "QUEUE_PROCESSOR_TYPO",
        "drain.on_deadline",
        "log.colour",
        "log.level",
        "nope",
        "queue_url",
    ]


@pytest.mark.parametrize(
    ("duration", "renew", "retry"), [(10, 10, 2), (15, 5, 5), (9, 10, 2), (15, 2, 10)]
)
def test_lease_periods_out_of_order_are_an_error(
    duration: int, renew: int, retry: int, environment: pytest.MonkeyPatch
) -> None:
    group = "QUEUE_PROCESSOR_LEADER_ELECTION__"
    environment.setenv(f"{group}LEASE_DURATION_SECONDS", str(duration))
    environment.setenv(f"{group}RENEW_DEADLINE_SECONDS", str(renew))
    environment.setenv(f"{group}RETRY_PERIOD_SECONDS", str(retry))

    (line,) = problems()

    assert line.startswith("leader_election: ")
    assert line.endswith(
        "retry_period_seconds < renew_deadline_seconds < lease_duration_seconds is required"
    )


# The file itself.


def test_a_missing_file_is_an_error(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "missing.yaml"

    assert problems(path) == [f"{path}: cannot be read: No such file or directory"]


def test_a_folder_in_place_of_the_file_is_an_error(tmp_path: pathlib.Path) -> None:
    (line,) = problems(tmp_path)

    assert line.startswith(f"{tmp_path}: cannot be read: ")


@pytest.mark.parametrize("text", ["a: [", "\tlog:\n", "a: b: c", "!!python/object:os.system {}"])
def test_a_file_that_is_not_yaml_is_one_line(text: str, tmp_path: pathlib.Path) -> None:
    (line,) = problems(written(tmp_path, text))

    assert line.startswith(f"{tmp_path / 'settings.yaml'}: not YAML: ")


def test_a_file_that_is_not_text_is_an_error(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(b"log: \xff\xfe")

    (line,) = problems(path)

    assert line.startswith(f"{path}: not YAML: ")


@pytest.mark.parametrize("text", ["[]", "text", "7"])
def test_a_file_that_is_not_a_mapping_is_an_error(text: str, tmp_path: pathlib.Path) -> None:
    (line,) = problems(written(tmp_path, text))

    assert "a mapping of settings is required" in line


def test_bad_settings_are_a_configuration_error() -> None:
    with pytest.raises(errors.ConfigurationError):
        settings.load()


# The results.


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("key", DEFAULTS)
def test_settings_are_frozen(key: str) -> None:
    group, _, name = key.rpartition(".")
    loaded = settings.load()

    with pytest.raises(pydantic.ValidationError, match="frozen"):
        setattr(value_of(loaded, group) if group else loaded, name, DEFAULTS[key])


def test_settings_become_the_policy(environment: pytest.MonkeyPatch) -> None:
    for kind in EventKind:
        environment.setenv(f"QUEUE_PROCESSOR_ACTIONS__{kind.upper()}", "ignore")
    environment.setenv("QUEUE_PROCESSOR_ACTIONS__REBALANCE_RECOMMENDATION", "cordon")
    environment.setenv("QUEUE_PROCESSOR_DRAIN__SOFT_DRAIN_TIMEOUT_SECONDS", "60")
    environment.setenv("QUEUE_PROCESSOR_DRAIN__LIFECYCLE_DRAIN_TIMEOUT_SECONDS", "120")
    environment.setenv("QUEUE_PROCESSOR_DRAIN__UNKNOWN_INSTANCE_GRACE_SECONDS", "5")
    environment.setenv("QUEUE_PROCESSOR_DRAIN__UNKNOWN_INSTANCE_POLICY", "release")
    environment.setenv("QUEUE_PROCESSOR_DRAIN__COMPLETE_NEVER_JOINED", "never")
    environment.setenv("QUEUE_PROCESSOR_CLUSTER_NAME", "prod")

    decided = settings.load().policy()

    assert dict(decided.actions) == dict.fromkeys(EventKind, Action.IGNORE) | {
        EventKind.REBALANCE_RECOMMENDATION: Action.CORDON
    }
    assert decided.timeouts.soft == dt.timedelta(minutes=1)
    assert decided.timeouts.lifecycle == dt.timedelta(minutes=2)
    assert decided.unknown_instance is UnknownInstancePolicy.RELEASE
    assert decided.unknown_instance_grace == dt.timedelta(seconds=5)
    assert decided.complete_never_joined is CompleteNeverJoined.NEVER
    assert decided.cluster_name == "prod"


@pytest.mark.parametrize("value", ["true", "false"])
def test_the_old_values_of_complete_never_joined_are_refused_with_the_new_ones(
    value: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("QUEUE_PROCESSOR_DRAIN__COMPLETE_NEVER_JOINED", value)

    with pytest.raises(
        settings.SettingsError, match=r"complete_never_joined.*'evidence' or 'never'"
    ):
        settings.load()


@pytest.mark.parametrize(
    ("queue_url", "account", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/111122223333/q", "111122223333", "eu-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/111122223333/q", "111122223333", "cn-north-1"),
        ("https://sqs.us-gov-east-1.api.aws/111122223333/q", "111122223333", "us-gov-east-1"),
        ("https://us-east-1.queue.amazonaws.com/111122223333/q", "111122223333", "us-east-1"),
        (
            "https://vpce-0a1-bc2-us-east-1a.sqs.us-east-1.vpce.amazonaws.com/111122223333/q",
            "111122223333",
            "us-east-1",
        ),
        ("http://127.0.0.1:4566/000000000000/q", "000000000000", None),
        ("http://localhost:9324/queue/q", None, None),
        ("http://localhost:9324/q", None, None),
    ],
)
def test_events_are_for_us_from_the_account_and_region_of_the_queue(
    queue_url: str, account: str | None, region: str | None, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("QUEUE_PROCESSOR_QUEUE_URL", queue_url)

    assert settings.load().policy().scope == EventScope(
        accounts=None if account is None else frozenset({account}), region=region
    )


def test_events_are_for_us_from_the_accounts_of_the_settings(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("QUEUE_PROCESSOR_SOURCES__SQS__ACCOUNTS", '["111122223333", "444455556666"]')

    assert settings.load().policy().scope.accounts == frozenset({"111122223333", "444455556666"})


@pytest.mark.parametrize("value", ["111122223333", "[]", '["1111"]', "[111122223333]", "1,2"])
def test_accounts_that_are_no_list_of_account_ids_are_refused(
    value: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("QUEUE_PROCESSOR_SOURCES__SQS__ACCOUNTS", value)

    with pytest.raises(settings.SettingsError, match=r"(?i)sqs"):
        settings.load()


def test_with_a_node_selector_no_tag_shows_that_a_group_is_ours(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("QUEUE_PROCESSOR_CLUSTER_NAME", "prod")
    environment.setenv("QUEUE_PROCESSOR_NODE_SELECTOR", "pool=spot")

    assert settings.load().policy().cluster_name is None


@pytest.mark.usefixtures("environment")
def test_every_kind_of_event_has_an_action() -> None:
    assert set(settings.load().policy().actions) == set(EventKind)


@pytest.mark.parametrize(
    ("bind", "host", "port"),
    [
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("localhost:65535", "localhost", 65_535),
        ("[::1]:8080", "::1", 8080),
        (":8080", "", 8080),
    ],
)
def test_the_address_to_listen_on_has_a_host_and_a_port(
    bind: str, host: str, port: int, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("QUEUE_PROCESSOR_HTTP__BIND", bind)

    http = settings.load().http

    assert (http.host, http.port) == (host, port)
