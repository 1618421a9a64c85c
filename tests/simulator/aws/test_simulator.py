import concurrent.futures
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import boto3
import pytest
from moto.autoscaling import responses
from moto.cloudformation import parsing
from moto.events import models

from queue_processor.simulator.aws import patches, simulator, stacks


@pytest.fixture
def own() -> Iterator[simulator.AwsSimulator]:
    with simulator.AwsSimulator() as aws:
        yield aws


def test_the_environment_is_enough_for_an_sdk(
    own: simulator.AwsSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = own.deploy()
    for name, value in own.environment().items():
        monkeypatch.setenv(name, value)

    client = boto3.Session().client("sqs")
    client.send_message(QueueUrl=stack.queue_url, MessageBody="hello")
    client.close()

    assert own.queue_state().visible == 1


def test_the_url_of_the_stack_is_the_url_of_the_queue(own: simulator.AwsSimulator) -> None:
    stack = own.deploy(parameters={"QueueNamePrefix": "spot-fleet"})
    client = own.session.client("sqs", endpoint_url=own.endpoint_url)

    answer = client.get_queue_url(QueueName="spot-fleet-events")
    client.close()

    assert stack.queue_url == answer["QueueUrl"]


def test_the_template_comes_with_the_package() -> None:
    assert "AWSTemplateFormatVersion" in stacks.own_template()


def test_no_value_takes_an_item_out_of_a_list(own: simulator.AwsSimulator) -> None:
    stack = own.deploy()
    client = own.session.client("sqs", endpoint_url=own.endpoint_url)

    answer = client.get_queue_attributes(QueueUrl=stack.queue_url, AttributeNames=["Policy"])
    client.close()

    statements = json.loads(answer["Attributes"]["Policy"])["Statement"]
    assert [statement["Sid"] for statement in statements] == [
        "RulesSend",
        "NobodyElseSends",
        "OnlyTls",
    ]


def test_instances_have_the_tags_they_were_given(own: simulator.AwsSimulator) -> None:
    ids = own.launch(2, tags={"managed": "yes"}, zone="us-east-1b")
    client = own.session.client("ec2", endpoint_url=own.endpoint_url)

    answer = client.describe_instances(Filters=[{"Name": "tag:managed", "Values": ["yes"]}])
    client.close()

    found = [i for reservation in answer["Reservations"] for i in reservation["Instances"]]
    assert sorted(i["InstanceId"] for i in found) == sorted(ids)
    assert {i["Placement"]["AvailabilityZone"] for i in found} == {"us-east-1b"}


def test_more_instances_than_one_call_attaches_make_a_group(own: simulator.AwsSimulator) -> None:
    ids = own.launch(25)

    own.create_auto_scaling_group("workers", ids)

    assert {own.lifecycle_state(instance_id) for instance_id in ids} == {"InService"}


def test_a_reset_forgets_everything(own: simulator.AwsSimulator) -> None:
    own.deploy()

    own.reset()

    with pytest.raises(LookupError):
        own.queue_state()
    own.deploy()
    assert own.queue_state().total == 0


def test_two_at_a_time_are_refused(own: simulator.AwsSimulator) -> None:
    with pytest.raises(RuntimeError, match="already"):
        simulator.AwsSimulator().start()

    own.deploy()


def test_a_stop_ends_a_long_poll_and_closes_the_port() -> None:
    with simulator.AwsSimulator() as aws, concurrent.futures.ThreadPoolExecutor() as pool:
        stack = aws.deploy()
        url = aws.endpoint_url
        client = aws.session.client("sqs", endpoint_url=url)
        waiting = pool.submit(client.receive_message, QueueUrl=stack.queue_url, WaitTimeSeconds=20)
        time.sleep(0.2)
        began_at = time.monotonic()
        aws.stop()
        waiting.exception(timeout=15)
        client.close()

    assert time.monotonic() - began_at < 15
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url)  # noqa: S310 it is ours


def test_a_stop_gives_moto_back_as_it_was(own: simulator.AwsSimulator) -> None:
    own.stop()

    assert models.Rule.send_to_targets.__module__ == "moto.events.models"
    assert parsing.clean_json.__module__ == "moto.cloudformation.parsing"
    assert not hasattr(responses.AutoScalingResponse, "complete_lifecycle_action")
    with pytest.raises(RuntimeError, match="does not run"):
        _ = own.endpoint_url


def test_a_stopped_simulator_starts_again(own: simulator.AwsSimulator) -> None:
    own.stop()

    own.start()

    assert own.deploy().queue_arn.startswith("arn:aws:sqs:us-east-1:123456789012:")


class Vendor:
    """Stands for a class of moto."""

    def call(self, first: int) -> int:
        return first


class TestPatches:
    def test_a_replacement_ends_with_its_context(self) -> None:
        with patches.replaced(
            Vendor, "call", lambda _self, first: -first, parameters=("self", "first")
        ):
            assert Vendor().call(1) == -1

        assert Vendor().call(1) == 1

    def test_a_function_of_a_module_is_replaced_and_comes_back(self) -> None:
        original = parsing.clean_json

        with patches.replaced(
            parsing, "clean_json", len, parameters=("resource_json", "resources_map")
        ):
            assert parsing.clean_json is not original

        assert parsing.clean_json is original

    def test_what_changed_in_a_module_is_named(self) -> None:
        with pytest.raises(patches.MotoChangedError, match=r"moto\.cloudformation\.parsing\.clean"):
            patches.expect(parsing, "clean_json", ("template",))

    def test_other_parameters_stop_the_start(self) -> None:
        with (
            pytest.raises(patches.MotoChangedError, match=r"Vendor\.call takes"),
            patches.replaced(Vendor, "call", None, parameters=("self", "first", "second")),
        ):
            pass

    def test_a_function_that_is_gone_stops_the_start(self) -> None:
        with pytest.raises(patches.MotoChangedError, match="no function shout"):
            patches.expect(Vendor, "shout", ("self",))

    def test_a_function_that_appeared_stops_the_start(self) -> None:
        with (
            pytest.raises(patches.MotoChangedError, match="call of its own"),
            patches.added(Vendor, "call", print),
        ):
            pass

    def test_a_changed_moto_leaves_no_trace_of_a_start(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            responses.AutoScalingResponse, "complete_lifecycle_action", print, raising=False
        )

        with pytest.raises(patches.MotoChangedError):
            simulator.AwsSimulator().start()

        assert parsing.clean_json.__module__ == "moto.cloudformation.parsing"
        monkeypatch.undo()
        with simulator.AwsSimulator() as aws:
            assert aws.deploy().queue_url
