"""The contract of ManagedInstances; there is one adapter, over EC2."""

import asyncio
from collections.abc import Iterator

import botocore.exceptions
import pytest

from queue_processor.adapters.aws.clients import DaemonExecutor
from queue_processor.adapters.aws.ec2 import TaggedInstances
from queue_processor.controller import ports
from queue_processor.domain import errors
from queue_processor.domain.identifiers import InstanceId
from queue_processor.simulator.aws import simulator

TAG = "queue-processor/managed"


class Account:
    """Instances, some of them ours, and the requests about them."""

    def __init__(self, aws: simulator.AwsSimulator) -> None:
        self._client = aws.session.client("ec2", endpoint_url=aws.endpoint_url)
        events = self._client.meta.events
        events.register("before-call.ec2.DescribeInstances", self._meet)
        self.managed: ports.ManagedInstances = TaggedInstances(
            self._client, tag_key=TAG, threads=DaemonExecutor(2, name="aws")
        )
        self.ours = [InstanceId(each) for each in aws.launch(2, tags={TAG: ""})]
        self.others = [InstanceId(each) for each in aws.launch(2, tags={"Name": TAG})]
        self.requests = 0
        self.is_reachable = True

    def untag(self, instance_id: str) -> None:
        self._client.delete_tags(Resources=[instance_id], Tags=[{"Key": TAG}])

    def close(self) -> None:
        self._client.close()

    def _meet(self, **_: object) -> None:
        self.requests += 1
        if not self.is_reachable:
            raise botocore.exceptions.EndpointConnectionError(endpoint_url="ec2")


@pytest.fixture
def account(aws: simulator.AwsSimulator) -> Iterator[Account]:
    made = Account(aws)
    yield made
    made.close()


async def test_the_tag_decides_and_one_request_asks_for_all(account: Account) -> None:
    asked = [*account.ours, *account.others]
    answers = await asyncio.gather(*(account.managed.is_managed(each) for each in asked))

    assert answers == [True, True, False, False]
    assert account.requests == 1


async def test_an_unknown_instance_is_not_ours_and_does_no_harm_to_the_others(
    account: Account,
) -> None:
    unknown = InstanceId("i-0000000000000dead")
    answers = await asyncio.gather(
        *(account.managed.is_managed(each) for each in (unknown, account.ours[0]))
    )

    assert answers == [False, True]


async def test_more_instances_than_a_request_takes_are_asked_for_in_several(
    account: Account,
) -> None:
    unknown = [InstanceId(f"i-{number:017x}") for number in range(150)]
    answers = await asyncio.gather(
        *(account.managed.is_managed(each) for each in (*unknown, account.ours[0]))
    )

    assert answers == [False] * 150 + [True]
    assert account.requests == 2


async def test_an_answer_is_remembered(account: Account) -> None:
    assert await account.managed.is_managed(account.ours[0])
    account.untag(account.ours[0])

    assert await account.managed.is_managed(account.ours[0])
    assert account.requests == 1


async def test_a_call_that_fails_is_a_fault_for_all_who_asked_and_made_again(
    account: Account,
) -> None:
    account.is_reachable = False
    answers = await asyncio.gather(
        *(account.managed.is_managed(each) for each in account.ours), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [errors.TemporaryError] * 2

    account.is_reachable = True

    assert await account.managed.is_managed(account.ours[0])
