"""Injected faults, as the adapters of the operator meet them."""

import contextlib
import functools
from collections.abc import Callable, Iterator

import pytest

from queue_processor.adapters.aws.errors import translated
from queue_processor.domain import errors
from queue_processor.simulator.aws import faults, simulator
from queue_processor.simulator.aws.faults import AwsFault


@pytest.fixture(scope="module")
def injector() -> faults.AwsFaults:
    return faults.AwsFaults()


@pytest.fixture(scope="module")
def failing(injector: faults.AwsFaults) -> Iterator[simulator.AwsSimulator]:
    with simulator.AwsSimulator(injector.around) as aws:
        yield aws


@pytest.mark.parametrize("fault", AwsFault)
@pytest.mark.parametrize("service", ["sqs", "autoscaling"])
def test_each_fault_is_a_temporary_error_in_each_protocol_and_ends(
    failing: simulator.AwsSimulator, injector: faults.AwsFaults, fault: AwsFault, service: str
) -> None:
    with contextlib.ExitStack() as clients:
        if service == "sqs":
            sqs = failing.session.client("sqs", endpoint_url=failing.endpoint_url)
            clients.callback(sqs.close)
            call: Callable[[], object] = functools.partial(sqs.create_queue, QueueName="queue")
        else:
            groups = failing.session.client("autoscaling", endpoint_url=failing.endpoint_url)
            clients.callback(groups.close)
            call = groups.describe_auto_scaling_groups
        before = injector.count
        with injector.injected(fault):
            _fails(call)
        assert injector.count > before
        call()


@pytest.mark.parametrize("fault", AwsFault)
def test_only_a_request_whose_reply_is_lost_has_its_effect(
    failing: simulator.AwsSimulator, injector: faults.AwsFaults, fault: AwsFault
) -> None:
    client = failing.session.client("sqs", endpoint_url=failing.endpoint_url)
    with contextlib.closing(client):
        url = client.create_queue(QueueName=fault.name)["QueueUrl"]
        with injector.injected(fault):
            _fails(functools.partial(client.send_message, QueueUrl=url, MessageBody="hello"))

    sent = failing.queue_state(url).total
    assert (sent > 0) is (fault is AwsFault.LOST_REPLY)


def _fails(call: Callable[[], object]) -> None:
    with pytest.raises(errors.TemporaryError), translated("a call"):
        call()
