"""AutoScalingLifecycle: how long it trusts what it has read about hooks and groups."""

import asyncio
import concurrent.futures
import datetime as dt
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import boto3
import botocore
import botocore.config
import botocore.stub
import pytest

from queue_processor.adapters.aws.autoscaling import AutoScalingLifecycle
from queue_processor.domain.events import LifecycleHook

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient

pytestmark = pytest.mark.looptime

HOOK = LifecycleHook(group="workers", name="drain")

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class CallingThread(concurrent.futures.Executor):
    """Makes each call at once, in the thread that submits it: virtual time waits for no other."""

    def submit(
        self,
        fn: Callable[_Parameters, _Result],
        /,
        *args: _Parameters.args,
        **kwargs: _Parameters.kwargs,
    ) -> concurrent.futures.Future[_Result]:
        made: concurrent.futures.Future[_Result] = concurrent.futures.Future()
        try:
            made.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
            made.set_exception(error)
        return made


@pytest.fixture
def client() -> "Iterator[AutoScalingClient]":
    unsigned = botocore.config.Config(signature_version=botocore.UNSIGNED)
    made = boto3.Session(region_name="us-east-1").client("autoscaling", config=unsigned)
    yield made
    made.close()


@pytest.fixture
def answers(client: "AutoScalingClient") -> Iterator[botocore.stub.Stubber]:
    """The answers of Auto Scaling, in their order; none may be left."""
    with botocore.stub.Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def lifecycle(client: "AutoScalingClient") -> AutoScalingLifecycle:
    return AutoScalingLifecycle(client, threads=CallingThread())


def hook_answer(seconds: int) -> dict[str, object]:
    return {"LifecycleHooks": [{"HeartbeatTimeout": seconds}]}


async def test_a_hook_whose_timeout_is_changed_is_read_again(
    answers: botocore.stub.Stubber, lifecycle: AutoScalingLifecycle
) -> None:
    answers.add_response("describe_lifecycle_hooks", hook_answer(3600))
    answers.add_response("describe_lifecycle_hooks", hook_answer(60))

    assert await lifecycle.heartbeat_timeout(HOOK) == dt.timedelta(hours=1)
    await asyncio.sleep(100)
    assert await lifecycle.heartbeat_timeout(HOOK) == dt.timedelta(hours=1)
    await asyncio.sleep(300)
    assert await lifecycle.heartbeat_timeout(HOOK) == dt.timedelta(minutes=1)


async def test_an_error_that_nobody_waited_for_is_not_the_next_answer(
    answers: botocore.stub.Stubber, lifecycle: AutoScalingLifecycle
) -> None:
    answers.add_client_error("describe_lifecycle_hooks", "Throttling", http_status_code=400)
    answers.add_response("describe_lifecycle_hooks", hook_answer(60))

    impatient = asyncio.create_task(lifecycle.heartbeat_timeout(HOOK))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(1)

    assert await lifecycle.heartbeat_timeout(HOOK) == dt.timedelta(minutes=1)


async def test_one_request_reads_the_group_for_all_its_instances_that_end_together(
    answers: botocore.stub.Stubber, lifecycle: AutoScalingLifecycle
) -> None:
    for instance_id in ("i-00000001", "i-00000002"):
        answers.add_response(
            "describe_auto_scaling_groups",
            {"AutoScalingGroups": [_group_of(instance_id)]},
            {"AutoScalingGroupNames": ["workers"]},
        )

    together = await asyncio.gather(*(lifecycle.group("workers") for _ in range(200)))
    await asyncio.sleep(20)
    soon = await lifecycle.group("workers")
    await asyncio.sleep(20)
    later = await lifecycle.group("workers")

    assert {group.instance_ids for group in (*together, soon)} == {frozenset({"i-00000001"})}
    assert later.instance_ids == {"i-00000002"}


def _group_of(instance_id: str) -> dict[str, object]:
    """A group of one instance, with the fields that every answer has."""
    return {
        "AutoScalingGroupName": "workers",
        "MinSize": 0,
        "MaxSize": 1,
        "DesiredCapacity": 1,
        "DefaultCooldown": 300,
        "AvailabilityZones": ["us-east-1a"],
        "HealthCheckType": "EC2",
        "CreatedTime": dt.datetime(2026, 5, 1, tzinfo=dt.UTC),
        "Instances": [
            {
                "InstanceId": instance_id,
                "AvailabilityZone": "us-east-1a",
                "LifecycleState": "InService",
                "HealthStatus": "Healthy",
                "ProtectedFromScaleIn": False,
            }
        ],
    }
