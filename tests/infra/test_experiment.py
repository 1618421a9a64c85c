"""The experiment, which no emulator supports: checked against the model of the API."""

import re
from typing import Any

import botocore.session
import botocore.validate
import pytest

from queue_processor.simulator.aws import simulator
from tests.infra import templates

TAG = "queue-processor-experiment"


@pytest.fixture(scope="module")
def resources(aws: simulator.AwsSimulator) -> dict[str, Any]:
    return templates.rendered(aws, templates.EXPERIMENT_PARAMETERS, templates.EXPERIMENT)


@pytest.fixture(scope="module")
def experiment(resources: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = resources["Experiment"]["Properties"]
    return properties


def in_api_spelling(value: Any) -> Any:  # noqa: ANN401 JSON
    """Keys as the API has them: CloudFormation writes them with a capital."""
    if isinstance(value, dict):
        return {key[0].lower() + key[1:]: in_api_spelling(each) for key, each in value.items()}
    if isinstance(value, list):
        return [in_api_spelling(each) for each in value]
    return value


def test_the_api_would_take_it(experiment: dict[str, Any]) -> None:
    request = in_api_spelling(experiment) | {"clientToken": "token"}
    model = botocore.session.Session().get_service_model("fis")
    shape = model.operation_model("CreateExperimentTemplate").input_shape
    assert shape is not None

    report = botocore.validate.ParamValidator().validate(request, shape)

    assert report.generate_report() == ""


def test_marked_spot_instances_are_interrupted_after_two_minutes(
    experiment: dict[str, Any],
) -> None:
    (action,) = experiment["Actions"].values()
    target = experiment["Targets"][action["Targets"]["SpotInstances"]]

    assert action["ActionId"] == "aws:ec2:send-spot-instance-interruptions"
    assert action["Parameters"] == {"durationBeforeInterruption": "PT2M"}
    assert target["ResourceType"] == "aws:ec2:spot-instance"
    assert target["ResourceTags"] == {TAG: "game-day"}
    assert target["SelectionMode"] == "PERCENT(25)"


def test_an_alarm_stops_it(experiment: dict[str, Any]) -> None:
    alarm = templates.EXPERIMENT_PARAMETERS["StopAlarmArn"]

    assert experiment["StopConditions"] == [{"Source": "aws:cloudwatch:alarm", "Value": alarm}]


def test_its_role_can_interrupt_no_instance_that_is_not_marked(resources: dict[str, Any]) -> None:
    (interrupting,) = (
        statement
        for _, statement in templates.policies(resources)
        if statement.get("Sid") == "Interrupt"
    )

    assert interrupting["Action"] == "ec2:SendSpotInstanceInterruptions"
    assert interrupting["Condition"] == {"StringEquals": {f"aws:ResourceTag/{TAG}": "game-day"}}


@pytest.mark.parametrize(
    ("mode", "allowed"),
    [
        ("ALL", True),
        ("COUNT(1)", True),
        ("COUNT(250)", True),
        ("PERCENT(100)", True),
        ("COUNT(0)", False),
        ("PERCENT(101)", False),
        ("COUNT(1); ALL", False),
        ("all", False),
        ("", False),
    ],
)
def test_the_selection_mode_is_one_that_the_service_has(mode: str, *, allowed: bool) -> None:
    pattern = templates.read(templates.EXPERIMENT)["Parameters"]["SelectionMode"]["AllowedPattern"]

    # CloudFormation matches the whole value.
    assert (re.fullmatch(pattern, mode) is not None) is allowed


def test_there_is_no_experiment_without_an_alarm_to_stop_it() -> None:
    alarm = templates.read(templates.EXPERIMENT)["Parameters"]["StopAlarmArn"]

    assert "Default" not in alarm
    assert re.fullmatch(alarm["AllowedPattern"], "") is None
