"""AWS in one process: start it, deploy the queue, make things happen, look at the results."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

import boto3
from moto import settings
from moto.core import authorization, base_backend, exceptions, model_instances
from moto.iam import access_control
from moto.moto_server import werkzeug_app
from werkzeug import datastructures

from queue_processor.simulator.aws import (
    bus,
    checks,
    cloudformation,
    fleet,
    groups,
    http,
    lifecycle,
    queues,
    records,
    sqs,
    stacks,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from types_boto3_autoscaling import AutoScalingClient

_KEY_ID = _KEY = "simulator"
_NO_ROLE = {"WorkloadIdentity": "none"}
# moto keeps its state in its modules.
_ONE_AT_A_TIME = threading.Lock()


class AwsSimulator:
    """AWS on a port of 127.0.0.1, for any client that takes an endpoint.

    There can be one at a time in a process, since moto keeps its state in its modules. A stopped
    one can start again, on another port.
    """

    account = sqs.ACCOUNT
    region = sqs.REGION

    def __init__(
        self, around: "Callable[[WSGIApplication], WSGIApplication] | None" = None
    ) -> None:
        """Build the simulator.

        Args:
            around: Goes around all that answers requests, as `AwsFaults.around` does.
        """
        self._sqs = http.HttpSqs(_authorize)
        self._groups = groups.Groups(self._sqs)
        self._moto = werkzeug_app.DomainDispatcherApplication(werkzeug_app.create_backend_app)
        self._app: WSGIApplication = around(self._serve) if around else self._serve
        self._running = contextlib.ExitStack()
        self._server: http.WsgiServer | None = None
        self._session = boto3.Session(
            aws_access_key_id=_KEY_ID, aws_secret_access_key=_KEY, region_name=sqs.REGION
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # Running it.

    def start(self) -> None:
        """Answer on a free port from now on.

        Raises:
            MotoChangedError: The installed moto has not the shape that this relies on.
            RuntimeError: One runs in this process already.
        """
        if not _ONE_AT_A_TIME.acquire(blocking=False):
            raise RuntimeError("A simulator runs in this process already.")
        with contextlib.ExitStack() as starting:
            starting.callback(_ONE_AT_A_TIME.release)
            base_backend.BackendDict.reset()
            starting.enter_context(bus.installed(self._sqs))
            starting.enter_context(cloudformation.installed(self._sqs))
            starting.enter_context(self._groups.installed())
            starting.callback(self.reset)
            starting.enter_context(self._groups.actions.expiring())
            self._server = starting.enter_context(http.running(self._app))
            with self._sqs.locked() as service:
                service.endpoint_url = self._server.url
            self._running = starting.pop_all()

    def stop(self) -> None:
        """Stop answering, and forget everything."""
        self._running.close()
        self._server = None

    def reset(self) -> None:
        """Forget every queue, stack, instance, group and action, and go on."""
        self._sqs.close()
        self._groups.actions.clear()
        # moto's own reset builds every backend anew before it drops them, which takes a while.
        for backends in list(base_backend.BackendDict._instances):  # type: ignore[misc]  # noqa: SLF001 as moto does
            backends.clear()
        base_backend.BackendDict.reset()
        model_instances.reset_model_data()

    @property
    def endpoint_url(self) -> str:
        """Return the endpoint URL.

        Raises:
            RuntimeError: It does not run.
        """
        if self._server is None:
            raise RuntimeError("The simulator does not run.")
        return self._server.url

    def environment(self) -> dict[str, str]:
        """Return the variables with which any AWS SDK uses the simulator and nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": sqs.REGION,
            "AWS_DEFAULT_REGION": sqs.REGION,
            "AWS_ACCESS_KEY_ID": _KEY_ID,
            "AWS_SECRET_ACCESS_KEY": _KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def session(self) -> boto3.Session:
        """A boto3 session with region and credentials; each client needs the endpoint as well."""
        return self._session

    # Infrastructure.

    def deploy(
        self,
        template: str | None = None,
        *,
        stack_name: str = "queue-processor",
        parameters: Mapping[str, str] | None = None,
    ) -> stacks.Stack:
        """Create a stack of a CloudFormation template.

        Args:
            template: The text of the template. None: the one of the project, without a role for a
                pod, because there is no cluster of EKS.
            stack_name: The name of the stack.
            parameters: The parameters of the template.

        Raises:
            botocore.exceptions.ClientError: CloudFormation refuses the template.
            KeyError: The template lacks one of the outputs of a Stack.
        """
        client = self._session.client("cloudformation", endpoint_url=self.endpoint_url)
        with contextlib.closing(client):
            if template is None:
                template, parameters = stacks.own_template(), {**_NO_ROLE, **(parameters or {})}
            return stacks.create(client, stack_name, template, parameters or {})

    def launch(
        self, count: int, *, zone: str = "us-east-1a", tags: Mapping[str, str] | None = None
    ) -> tuple[str, ...]:
        """Run instances and return their ids."""
        client = self._session.client("ec2", endpoint_url=self.endpoint_url)
        with contextlib.closing(client):
            return fleet.launch(client, count, zone, tags or {})

    def create_auto_scaling_group(
        self,
        name: str,
        instance_ids: Iterable[str] = (),
        hooks: Iterable[lifecycle.SimulatedLifecycleHook] = (),
        *,
        zone: str = "us-east-1a",
    ) -> None:
        """Create a group of running instances, and its lifecycle hooks.

        Hooks for launches hold back what `launch_in_group` adds, not these instances.
        """
        with self._autoscaling() as client:
            fleet.create_group(client, name, zone, hooks)
            fleet.attach(client, name, instance_ids)

    # Making things happen.

    def put_event(self, event: Mapping[str, object]) -> None:
        """Put an event on the default bus, as an AWS service does; the rules route it.

        The event keeps its id. It reaches a queue whose policy lets the rule send, no other.
        """
        bus.deliver(event)

    def put_events(self, events: Iterable[Mapping[str, object]]) -> None:
        """Put several events on the default bus."""
        for event in events:
            self.put_event(event)

    def send_raw(self, body: str, *, queue_url: str | None = None) -> str:
        """Send a body straight to a queue and return its message id."""
        with self._queue(queue_url) as queue:
            return queue.send(body, now=time.time()).message_id

    def terminate_in_group(self, instance_id: str) -> lifecycle.SimulatedLifecycleAction:
        """Let its group terminate an instance; return the lifecycle action that holds it back.

        Raises:
            LookupError: It is in no group, or no hook holds it back.
        """
        return self._groups.terminate(instance_id)

    def launch_in_group(self, group: str, *, zone: str = "us-east-1a") -> str:
        """Let a group launch an instance, held back by its hooks for launches; return its id."""
        (instance_id,) = self.launch(1, zone=zone)
        with self._autoscaling() as client:
            fleet.attach(client, group, [instance_id])
        self._groups.launch(instance_id)
        return instance_id

    # Looking at the results. Without a URL it is the one queue with a dead-letter queue.

    def lifecycle_actions(self) -> tuple[lifecycle.SimulatedLifecycleAction, ...]:
        """Return every lifecycle action that ever began, in that order."""
        return self._groups.actions.all()

    def lifecycle_state(self, instance_id: str) -> str | None:
        """Return `InService`, `Terminating:Wait`, `Pending:Wait`; None outside of a group."""
        return self._groups.state_of(instance_id)

    def queue_state(self, queue_url: str | None = None) -> records.SimulatedQueueState:
        """Count the messages of a queue, without receiving any."""
        with self._queue(queue_url) as queue:
            return queue.state(time.time())

    def contents(self, queue_url: str | None = None) -> tuple[records.MessageSnapshot, ...]:
        """Return the messages of a queue, without receiving any."""
        with self._queue(queue_url) as queue:
            return queue.contents()

    def dead_letters(self, queue_url: str | None = None) -> tuple[records.MessageSnapshot, ...]:
        """Return the messages in the dead-letter queue of a queue, without receiving any.

        Raises:
            LookupError: The queue has no dead-letter queue.
        """
        with self._queue(queue_url) as queue, self._sqs.locked() as service:
            dead_letter_queue = service.dead_letter_queue(queue)
            if dead_letter_queue is None:
                raise LookupError(f"{queue_url} has no dead-letter queue")
            return dead_letter_queue.contents()

    def message_log(self, queue_url: str | None = None) -> tuple[records.MessageRecord, ...]:
        """Return the life of every message that was ever in a queue, in the order they came."""
        with self._queue(queue_url) as queue:
            return queue.history()

    @contextlib.contextmanager
    def _queue(self, queue_url: str | None) -> Iterator[queues.SimulatedQueue]:
        """Find a queue, and keep everybody else from the queues for as long as this lasts.

        Raises:
            LookupError: There is none of that URL, or several with a dead-letter queue.
        """
        with self._sqs.locked() as service:
            matching = [
                queue
                for name, queue in service.queues.items()
                if (queue_url is None and queue.settings.dead_letter_rule is not None)
                or (queue_url is not None and name == queue_url.rpartition("/")[2])
            ]
            if len(matching) != 1:
                raise LookupError(f"There are {len(matching)} queues for {queue_url or 'no URL'}")
            yield matching[0]

    def _autoscaling(self) -> "contextlib.closing[AutoScalingClient]":
        return contextlib.closing(
            self._session.client("autoscaling", endpoint_url=self.endpoint_url)
        )

    def _serve(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request: ours for SQS, moto for the rest of AWS."""
        if self._sqs.action_of(environ) is not None:
            return self._sqs(environ, start_response)
        answer: Iterable[bytes] = self._moto(environ, start_response)
        return answer


def _authorize(action: str, resource: str, environ: "WSGIEnvironment", body: bytes) -> None:
    """Let moto's IAM decide, as it does for its own services: not before it is switched on."""
    if authorization.ActionAuthenticatorMixin.request_count < settings.INITIAL_NO_AUTH_ACTION_COUNT:
        return
    try:
        request = access_control.IAMRequest(
            account_id=sqs.ACCOUNT,
            method="POST",
            path="/",
            data={},
            body=body,
            headers=datastructures.EnvironHeaders(environ),  # type: ignore[arg-type] # a mapping
            action=action,
        )
        request.check_signature()
        request.check_action_permitted(resource)
    except (
        exceptions.AccessDeniedError,
        exceptions.InvalidClientTokenIdError,
        exceptions.SignatureDoesNotMatchError,
    ) as refusal:
        raise checks.SqsError(refusal.error_type, refusal.message) from refusal
