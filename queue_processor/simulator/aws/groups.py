"""Auto Scaling with lifecycle actions, which moto lacks.

moto has hooks without any effect: an instance that leaves its group is gone at once. Here it stays
in Terminating:Wait, an event announces the lifecycle action, and CompleteLifecycleAction or the
hook's timeout lets it go. Several hooks hold an instance back in the order of their names.

https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-lifecycle.html
"""

import contextlib
import datetime as dt
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from moto.autoscaling import exceptions, models, responses
from moto.core import responses as core_responses

from queue_processor.domain import aws_events
from queue_processor.domain.events import LifecycleTransition
from queue_processor.simulator.aws import bus, events, http, lifecycle, patches
from queue_processor.simulator.aws.sqs import ACCOUNT, REGION

_EVENT_OF = {
    LifecycleTransition.TERMINATING: (
        aws_events.autoscaling_termination,
        *aws_events.TERMINATION_PATH,
    ),
    LifecycleTransition.LAUNCHING: (aws_events.autoscaling_launch, *aws_events.LAUNCH_PATH),
}


class Groups:
    """The Auto Scaling groups of one account and Region."""

    def __init__(self, sqs: http.HttpSqs) -> None:
        self._sqs = sqs
        # One at a time: actions end in the threads of calls and in the thread of the timeouts.
        self._lock = threading.RLock()
        self.actions = lifecycle.SimulatedLifecycleActions(on_end=self._go_on)

    @property
    def _backend(self) -> models.AutoScalingBackend:
        return models.autoscaling_backends[ACCOUNT][REGION]

    def terminate(self, instance_id: str) -> lifecycle.SimulatedLifecycleAction:
        """Let the first hook for terminations hold back an instance that leaves its group.

        An instance that waits already stays where it is.

        Raises:
            LookupError: The instance is in no group, or the group has no such hook.
        """
        with self._lock:
            state = self._state(instance_id)
            hook = self._next_hook(state, LifecycleTransition.TERMINATING)
            if hook is None:
                raise LookupError(f"No hook holds back {instance_id}")
            if state.lifecycle_state.startswith("Terminating"):
                return self.actions.active(instance_id)
            state.auto_scaling_group.desired_capacity -= 1
            return self._wait_at(hook, state)

    def launch(self, instance_id: str) -> None:
        """Let the first hook for launches hold back a new instance of a group.

        Without such a hook it goes into service at once.

        Raises:
            LookupError: The instance is in no group.
        """
        with self._lock:
            state = self._state(instance_id)
            hook = self._next_hook(state, LifecycleTransition.LAUNCHING)
            if hook is not None:
                self._wait_at(hook, state)

    def state_of(self, instance_id: str) -> str | None:
        """Return the lifecycle state of an instance, as AWS spells it; None outside of a group."""
        with self._lock, contextlib.suppress(LookupError):
            return self._state(instance_id).lifecycle_state
        return None

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Let moto's Auto Scaling answer for lifecycle actions.

        Raises:
            MotoChangedError: moto's Auto Scaling no longer has the shape this relies on.
        """
        terminate: Callable[..., models.Activity] = models.AutoScalingBackend.terminate_instance
        put_hook: Callable[..., core_responses.ActionResult] = (
            responses.AutoScalingResponse.put_lifecycle_hook
        )

        def terminate_or_wait(
            backend: models.AutoScalingBackend,
            instance_id: str,
            should_decrement: bool,  # noqa: FBT001 as moto has it
        ) -> models.Activity:
            if not should_decrement:
                return terminate(backend, instance_id, should_decrement)
            try:
                self.terminate(instance_id)
            except LookupError:
                return terminate(backend, instance_id, should_decrement)
            state = self._state(instance_id)
            capacity: int = state.auto_scaling_group.desired_capacity
            return models.TerminateInstanceActivity(state.instance, capacity + 1)

        def put_whole_hook(
            response: responses.AutoScalingResponse,
        ) -> core_responses.ActionResult:
            answer = put_hook(response)
            self._complete_hook(response._get_params())  # noqa: SLF001 as moto's own responses do
            return answer

        def complete(response: responses.AutoScalingResponse) -> core_responses.ActionResult:
            return self._complete_action(response._get_params())  # noqa: SLF001 the same

        def heartbeat(response: responses.AutoScalingResponse) -> core_responses.ActionResult:
            return self._record_heartbeat(response._get_params())  # noqa: SLF001 the same

        answers = responses.AutoScalingResponse
        with (
            patches.replaced(
                models.AutoScalingBackend,
                "terminate_instance",
                terminate_or_wait,
                parameters=("self", "instance_id", "should_decrement"),
            ),
            patches.replaced(answers, "put_lifecycle_hook", put_whole_hook, parameters=("self",)),
            patches.added(answers, "complete_lifecycle_action", complete),
            patches.added(answers, "record_lifecycle_action_heartbeat", heartbeat),
        ):
            yield

    # The calls of AWS.

    def _complete_action(self, params: Mapping[str, Any]) -> core_responses.ActionResult:
        # https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CompleteLifecycleAction.html
        try:
            result = lifecycle.LifecycleActionResult(params["LifecycleActionResult"])
        except ValueError as fault:
            raise exceptions.ValidationError("Lifecycle Action Result is invalid") from fault
        try:
            self.actions.complete(_key(params), result)
        except lifecycle.NoActiveActionError as fault:
            raise exceptions.ValidationError(str(fault)) from fault
        return core_responses.EmptyResult()

    def _record_heartbeat(self, params: Mapping[str, Any]) -> core_responses.ActionResult:
        try:
            self.actions.heartbeat(_key(params))
        except lifecycle.NoActiveActionError as fault:
            raise exceptions.ValidationError(str(fault)) from fault
        return core_responses.EmptyResult()

    def _complete_hook(self, params: Mapping[str, Any]) -> None:
        """Fill in what moto keeps as a fixed value or not at all."""
        group, name = params["AutoScalingGroupName"], params["LifecycleHookName"]
        hook = self._backend.lifecycle_hooks[f"{group}_{name}"]
        for attribute, parameter in (
            ("role_arn", "RoleARN"),
            ("notification_target_arn", "NotificationTargetARN"),
            ("notification_metadata", "NotificationMetadata"),
        ):
            setattr(hook, attribute, params.get(parameter))
        timeout = self._hook(hook).global_timeout
        hook.global_timeout = int(timeout.total_seconds())
        if hook.notification_target_arn:
            self._notify(hook.notification_target_arn, events.hook_test_notification(group))

    # What happens to instances.

    def _wait_at(
        self, hook: models.LifecycleHook, state: models.InstanceState
    ) -> lifecycle.SimulatedLifecycleAction:
        typed = self._hook(hook)
        build, origin, destination = _EVENT_OF[typed.transition]
        verb = "Terminating" if typed.transition is LifecycleTransition.TERMINATING else "Pending"
        state.lifecycle_state = f"{verb}:Wait"
        action = self.actions.begin(typed, state.instance_id)
        step = events.new_step(
            group=typed.group,
            hook=typed.name,
            token=action.token,
            metadata=typed.metadata,
            origin=origin,
            destination=destination,
        )
        if hook.notification_target_arn:
            body = events.lifecycle_notification(
                state.instance_id, step, typed.transition.value, origin=events.new_origin()
            )
            self._notify(hook.notification_target_arn, body)
        event = build(state.instance_id, step, origin=events.new_origin())
        bus.deliver(event)
        return action

    def _go_on(self, action: lifecycle.SimulatedLifecycleAction) -> None:
        with self._lock, contextlib.suppress(LookupError):
            state = self._state(action.instance_id)
            is_launch = action.hook.transition is LifecycleTransition.LAUNCHING
            hook = self._next_hook(state, action.hook.transition, after=action.hook.name)
            if action.result is lifecycle.LifecycleActionResult.CONTINUE and hook is not None:
                self._wait_at(hook, state)
            elif action.result is lifecycle.LifecycleActionResult.CONTINUE and is_launch:
                state.lifecycle_state = "InService"
            else:
                self._remove(state)

    def _remove(self, state: models.InstanceState) -> None:
        group = state.auto_scaling_group
        group.instance_states = [other for other in group.instance_states if other is not state]
        self._backend.ec2_backend.terminate_instances([state.instance_id])

    def _state(self, instance_id: str) -> models.InstanceState:
        states = self._backend.describe_auto_scaling_instances([instance_id])
        if not states:
            raise LookupError(f"{instance_id} is in no Auto Scaling group")
        return states[0]

    def _next_hook(
        self, state: models.InstanceState, transition: LifecycleTransition, after: str = ""
    ) -> models.LifecycleHook | None:
        hooks = self._backend.describe_lifecycle_hooks(state.auto_scaling_group_name)
        later = [
            hook
            for hook in hooks
            if hook.lifecycle_transition == transition.value and hook.name > after
        ]
        return min(later, key=lambda hook: hook.name, default=None)

    def _hook(self, hook: models.LifecycleHook) -> lifecycle.SimulatedLifecycleHook:
        return lifecycle.SimulatedLifecycleHook(
            group=hook.auto_scaling_group_name,
            name=hook.name,
            transition=LifecycleTransition(str(hook.lifecycle_transition)),
            heartbeat_timeout=dt.timedelta(seconds=hook.heartbeat_timeout),
            default_result=lifecycle.LifecycleActionResult(hook.default_result),
            metadata=getattr(hook, "notification_metadata", None),
        )

    def _notify(self, target_arn: str, body: aws_events.Event) -> None:
        name = target_arn.rpartition(":")[2]
        text = json.dumps(body, separators=(",", ":"))
        self._sqs.call("SendMessage", QueueUrl=name, MessageBody=text)


def _key(params: Mapping[str, Any]) -> lifecycle.ActionKey:
    return lifecycle.ActionKey(
        group=params["AutoScalingGroupName"],
        hook=params["LifecycleHookName"],
        token=params.get("LifecycleActionToken"),
        instance_id=params.get("InstanceId"),
    )
