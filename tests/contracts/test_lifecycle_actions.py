"""The contract of LifecycleActions."""

import asyncio
import dataclasses
import uuid

import pytest

from queue_processor.domain import errors
from queue_processor.domain.events import AutoScalingGroup
from queue_processor.domain.identifiers import InstanceId
from tests.contracts import lifecycles
from tests.contracts.lifecycles import Group
from tests.fakes.autoscaling import HOOK


async def test_a_completed_action_lets_the_group_go_on(group: Group) -> None:
    action = group.begin()
    assert group.is_held(action)
    await group.lifecycle.complete(action)

    assert not group.is_held(action)


async def test_completing_again_changes_nothing(group: Group) -> None:
    action, other = group.begin(), group.begin()
    await group.lifecycle.complete(action)
    await group.lifecycle.complete(action)

    assert (group.is_held(action), group.is_held(other)) == (False, True)


async def test_an_action_without_a_token_is_named_by_its_instance(group: Group) -> None:
    action, other = group.begin(), group.begin()
    await group.lifecycle.heartbeat(dataclasses.replace(action, token=None))
    await group.lifecycle.complete(dataclasses.replace(action, token=None))

    assert (group.is_held(action), group.is_held(other)) == (False, True)


async def test_an_action_that_nobody_knows_is_over(group: Group) -> None:
    unknown = dataclasses.replace(
        group.begin(), instance_id=InstanceId("i-0000000000000dead"), token=str(uuid.uuid4())
    )
    await group.lifecycle.complete(unknown)

    with pytest.raises(errors.NotFound):
        await group.lifecycle.heartbeat(unknown)


async def test_a_heartbeat_starts_the_timeout_anew(group: Group) -> None:
    action = group.begin()
    before = group.expires_at(action)
    await asyncio.sleep(0.05)
    await group.lifecycle.heartbeat(action)

    assert group.expires_at(action) > before
    assert group.is_held(action)


async def test_an_action_that_is_over_takes_no_heartbeat(group: Group) -> None:
    action = group.begin()
    await group.lifecycle.complete(action)
    before = group.expires_at(action)

    with pytest.raises(errors.NotFound):
        await group.lifecycle.heartbeat(action)
    assert group.expires_at(action) == before


async def test_the_timeout_is_the_hooks_and_asked_once_for_all(group: Group) -> None:
    answers = await asyncio.gather(*(group.lifecycle.heartbeat_timeout(HOOK) for _ in range(20)))
    answers.append(await group.lifecycle.heartbeat_timeout(HOOK))

    assert answers == [lifecycles.TIMEOUT] * 21
    assert group.asked_for_hooks() == 1


async def test_a_hook_that_does_not_exist_is_not_found_and_asked_for_again(group: Group) -> None:
    for _ in range(2):
        with pytest.raises(errors.NotFound):
            await group.lifecycle.heartbeat_timeout(lifecycles.other_hook())

    assert group.asked_for_hooks() == 2


async def test_a_group_has_its_instances_and_its_tags(group: Group) -> None:
    tag = {"kubernetes.io/cluster/prod": "owned"}
    instance_id = group.join(**tag)

    read = await group.lifecycle.group(HOOK.group)

    assert read == AutoScalingGroup(
        name=HOOK.group, instance_ids=frozenset({instance_id}), tags=tag
    )


async def test_a_group_that_is_gone_holds_nothing_up(group: Group) -> None:
    action = group.begin()
    await group.lifecycle.complete(action)
    group.remove()

    await group.lifecycle.complete(action)
    with pytest.raises(errors.NotFound):
        await group.lifecycle.heartbeat(action)
    with pytest.raises(errors.NotFound):
        await group.lifecycle.heartbeat_timeout(HOOK)
    with pytest.raises(errors.NotFound):
        await group.lifecycle.group(HOOK.group)
