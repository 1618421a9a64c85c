"""The oracle knows the messages that were sent and the simulated world, not the program.

It looks at each effect when it happens: a change of a node or a pod, a message that is deleted, a
lifecycle action that is completed. The rules:

1. No message is deleted and no lifecycle action completed before each of its nodes is empty, gone,
   past its deadline, given up softly, or its event is cancelled or refuted.
2. Nothing is cordoned, evicted or deleted on a node that no event names.
3. No budget is overridden before the deadline of a hard event that drains, and no node is put out
   of service without evidence that its instance does not run.
4. No two processes write at a time, and none evicts a pod once more whose eviction was accepted.
5. In the end every message is deleted or dead-lettered, every action completed or left to its
   owner, and every mark is gone with the last event that holds its node; what people did stays.
6. Nothing crashes, nothing is left running, nothing grows without a bound.

A violation is kept until the world asks (`check`): raised where it happens, the program would take
it for an error of its own.
"""

import hashlib
from collections.abc import Collection, MutableMapping
from typing import TYPE_CHECKING, Any

import structlog

from queue_processor.controller import ports
from queue_processor.domain.events import LifecycleTransition
from queue_processor.domain.pods import Eviction, EvictionAnswer, PodRef
from queue_processor.simulator.aws.records import MessageEnding
from queue_processor.simulator.kube import objects, resources, store
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.simulation import claims
from tests.simulation.claims import Claims, Sent
from tests.simulation.scenario import FaultKind, Scenario, Sending, Signal

if TYPE_CHECKING:
    import asyncio

    from tests.fakes.autoscaling import FakeLifecycle
    from tests.fakes.sqs import FakeQueue

_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
# Work on a message or a node; when there is none, none of these tasks is left.
_WORK = ("drain", "evict", "request for", "handle", "process ", "message", "heartbeats", "plan")


class Violation(Exception):
    """A rule was violated.

    Attributes:
        rule: Its number.
    """

    def __init__(self, rule: int, what: str) -> None:
        super().__init__(f"rule {rule}: {what}")
        self.rule = rule


class Oracle:
    """Judges one world.

    Attributes:
        trace: What happened, in order.
        evictions: How many evictions were granted.
    """

    def __init__(
        self, scenario: Scenario, *, cluster: SimulatedCluster, clock: ports.Clock
    ) -> None:
        self.trace: list[str] = []
        self.evictions = 0
        self.queue: FakeQueue | None = None
        self.lifecycle: FakeLifecycle | None = None
        self._choices = scenario.choices
        self._cluster = cluster
        self._claims = Claims(scenario, cluster=cluster, clock=clock)
        self._violation: Violation | None = None
        self._accepted: set[tuple[str, str]] = set()
        self._was_ready: set[int] = set()
        self._has_slow_evictions = any(
            fault.call == "Pods.evict" and fault.kind is FaultKind.DELAY
            for fault in scenario.faults
        )
        cluster.subscribe(self._on_change)

    # What the world asks.

    def check(self) -> None:
        """Raise the first violation, if there is one."""
        if self._violation is not None:
            raise self._violation

    @property
    def digest(self) -> str:
        """A hash of the trace: equal for runs that are equal."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()

    @property
    def awaits_messages(self) -> bool:
        """True while there are messages that have to be settled."""
        assert self.queue is not None
        endings = self.queue.endings
        return any(
            sent.message_id not in endings and not self._may_stay(sent)
            for sent in self._claims.sent.values()
        )

    def note(self, line: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self._claims.now():10.3f} {line}")

    def _violate(self, rule: int, what: str) -> None:
        self.note(f"VIOLATION of rule {rule}: {what}")
        if self._violation is None:
            self._violation = Violation(rule, what)

    # What happens.

    def on_sending(self, sending: Sending, message_id: str) -> None:
        """Take in a message that was sent."""
        had_nodes = all(self._claims.nodes_of(number) for number in sending.instances)
        self._claims.sent[message_id] = Sent(
            sending=sending, message_id=message_id, had_nodes=had_nodes
        )
        names = ", ".join(str(number) for number in sending.instances)
        self.note(f"sent event {sending.key}: {sending.signal} about {names}")

    def on_start(self, process: str) -> None:
        """Take in that a process starts."""
        self._claims.handovers.append(self._claims.now())
        self.note(f"{process} starts")

    def on_stale_deletion(self, message_id: str) -> None:
        """Take in that the program used a receipt handle although it had a newer one."""
        sent = self._claims.sent.get(message_id)
        if sent is not None:
            self._violate(5, f"event {sent.sending.key} was deleted with a stale receipt handle")

    def on_expiry(self) -> None:
        """Take in that the queue drops what it has."""
        assert self.queue is not None
        for sent in self._claims.sent.values():
            sent.is_expired = sent.is_expired or sent.message_id not in self.queue.endings

    def on_log(
        self, _: object, __: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Look at a line of the log: defects that the program survives are violations, too."""
        name, error = event.get("event"), str(event.get("error", ""))
        if name == "message_failed" or (
            name == "node_not_reconciled"
            and not error.startswith(("TemporaryError", "PermanentError", "NotFound"))
        ):
            self._violate(6, f"{name}: {event.get('exc_info') or error!r}")
        raise structlog.DropEvent

    def on_answer(self, process: str, subject: object, answer: object) -> None:
        """Look at an answer that a process got."""
        if not isinstance(answer, Eviction) or not isinstance(subject, PodRef):
            return
        if answer.answer is EvictionAnswer.ACCEPTED:
            if (process, subject.uid) in self._accepted:
                self._violate(4, f"{process} evicted {subject} again after it was accepted")
            self._accepted.add((process, subject.uid))

    def on_crash(self, process: str, error: BaseException | None) -> None:
        """Take in how the work of a process ended."""
        if error is not None:
            self._violate(6, f"{process} crashed: {error!r}")

    def _on_change(self, change: store.Change) -> None:
        if change.resource is resources.NODES:
            self._take_in_node(change)
        elif change.resource is resources.LEASES:
            self._take_in_lease(change)
        if change.actor.name.startswith("operator-"):
            if change.resource is resources.NODES:
                self._judge_node_write(change)
            elif change.resource is resources.PODS:
                self._judge_pod_write(change)

    def _take_in_node(self, change: store.Change) -> None:
        number = claims.number_of(change.after)
        if change.before is None:
            self._claims.had_node.setdefault(number, self._claims.now())
            self._claims.first_uids.setdefault(change.after.name, change.after.uid)
            self.note(f"{change.after.name} registers")
        elif change.current is None:
            self.note(f"{change.after.name} is gone")
        if objects.is_ready(change.after):
            self._was_ready.add(number)

    def _take_in_lease(self, change: store.Change) -> None:
        before = None if change.before is None else change.before.spec.get("holderIdentity")
        after = change.after.spec.get("holderIdentity")
        if before != after:
            self._claims.handovers.append(self._claims.now())
            self.note(f"the Lease is held by {after or 'nobody'}")

    # Rules 2, 3 and 4: each write.

    def _judge_node_write(self, change: store.Change) -> None:
        before, after = change.before, change.after
        assert before is not None
        self._judge_writer(change)
        if before.spec == after.spec and claims.marks(before) == claims.marks(after):
            return
        taints = ",".join(sorted(claims.taint_keys(after)))
        cordon = "cordoned" if after.spec.get("unschedulable") else "schedulable"
        self.note(f"{change.actor.name}: {after.name} is {cordon}, taints {taints}")
        number = claims.number_of(after)
        if not any(True for _ in self._claims.naming(number)):
            self._violate(2, f"{after.name} was changed, and no event names it")
        is_freed = _OUT_OF_SERVICE in claims.taint_keys(after) - claims.taint_keys(before)
        if is_freed and not self._claims.is_dead(before):
            self._violate(3, f"{after.name} is out of service without evidence")
        if self._claims.is_persons(after) and not self._claims.is_as_person_left_it(after):
            self._violate(5, f"{after.name} is not as a person left it")

    def _judge_pod_write(self, change: store.Change) -> None:
        pod, before = change.after, change.before
        verb = "evicts" if change.actor.cause is store.Cause.EVICTION else "deletes"
        grace = pod.metadata.get("deletionGracePeriodSeconds")
        is_begun = before is None or not before.is_terminating
        if is_begun and not pod.is_terminating and change.current is not None:
            # The condition that goes before an eviction.
            return
        self.note(f"{change.actor.name} {verb} {pod.name} on {pod.node_name}, grace {grace}")
        self._judge_writer(change)
        node = self._cluster.store.node(pod.node_name)
        if not pod.node_name:
            self._violate(2, f"{pod.name} went, which is on no node")
        if change.actor.cause is store.Cause.EVICTION:
            self.evictions += 1
        if node is None:
            return
        # One that was sent before may arrive late.
        is_eviction = change.actor.cause is store.Cause.EVICTION
        may_be_late = is_eviction and self._has_slow_evictions
        asking = [
            sent
            for sent in self._claims.naming(claims.number_of(node))
            if self._claims.drains(sent.sending)
            and (may_be_late or not self._claims.is_over(sent, node))
        ]
        if not asking:
            self._violate(2, f"{pod.name} on {node.name} went, and no event drains that node")
        elif change.actor.cause is store.Cause.DELETE:
            self._judge_override(pod, node, asking)

    def _judge_override(
        self, pod: objects.Stored, node: objects.Stored, asking: Collection[Sent]
    ) -> None:
        if self._choices.on_deadline == "leave":
            self._violate(3, f"{pod.name} was deleted, and on_deadline is leave")
            return
        grace = float(pod.spec.get("terminationGracePeriodSeconds", 30))
        due_at = min(
            (due for sent in asking if (due := self._claims.due_at(sent, grace)) is not None),
            default=None,
        )
        is_due = due_at is not None and self._claims.now() >= due_at - self._claims.slack
        if not is_due and not self._claims.is_dead(node):
            self._violate(3, f"{pod.name} was deleted; due at {due_at}")

    def _judge_writer(self, change: store.Change) -> None:
        """Only the process that holds the Lease may write."""
        if not self._choices.has_election:
            return
        lease = self._cluster.store.get(resources.LEASES, "default", "queue-processor")
        holder = None if lease is None else lease.spec.get("holderIdentity")
        if holder != change.actor.name:
            self._violate(4, f"{change.actor.name} writes, and {holder or 'nobody'} leads")

    # Rule 1: messages and lifecycle actions.

    def look_at_messages(self) -> None:
        """Judge the messages that were deleted since the last look."""
        assert self.queue is not None
        for message_id, ending in self.queue.endings.items():
            sent = self._claims.sent.get(message_id)
            if sent is None or sent.settled_at is not None or sent.is_expired:
                continue
            sent.settled_at = self._claims.now()
            self.note(f"the message of event {sent.sending.key} is {ending.value}")
            if ending is MessageEnding.DELETED:
                self._judge_deletion(sent)
            elif ending is MessageEnding.DEAD_LETTERED and self._choices.receives > 100:
                self._violate(6, f"event {sent.sending.key} was received too often")

    def _judge_deletion(self, sent: Sent) -> None:
        assert self.queue is not None
        sending = sent.sending
        if sending.signal is Signal.MALFORMED:
            if not self.queue.dead_letters:
                self._violate(5, "a malformed message is not on the dead-letter queue")
            return
        if sending.signal is Signal.LAUNCH or not self._claims.is_for_us(sending):
            return
        for number in sending.instances:
            if not self._claims.is_cancellation(sending, number):
                reason = self._unfinished(sent, number)
                if reason is not None:
                    self._violate(1, f"the message of event {sending.key} was deleted: {reason}")

    def on_completion(self, instance_id: str, transition: LifecycleTransition) -> None:
        """Judge the completion of a lifecycle action."""
        number = int(instance_id.removeprefix("i-"), 16)
        self.note(f"completed: {transition.value} of instance {number}")
        signal = (
            Signal.LAUNCH if transition is LifecycleTransition.LAUNCHING else Signal.TERMINATION
        )
        sent = next(
            (
                each
                for each in self._claims.sent.values()
                if each.sending.signal is signal and number in each.sending.instances
            ),
            None,
        )
        if sent is None:
            self._violate(1, f"an action of instance {number} was completed that no event names")
        elif signal is Signal.LAUNCH:
            if number not in self._was_ready:
                self._violate(1, f"the launch of instance {number} was completed, not Ready")
        elif number not in self._claims.had_node:
            if self._choices.never_joined != "evidence" or not self._choices.group_is_tagged:
                self._violate(1, f"instance {number} never joined, and its group may not be ours")
        elif (reason := self._unfinished(sent, number)) is not None:
            self._violate(1, f"the termination of instance {number} was completed: {reason}")

    def _unfinished(self, sent: Sent, number: int) -> str | None:
        """Return why the work for an event on an instance is not over; None if it is."""
        nodes = self._claims.nodes_of(number)
        if (
            not nodes
            and self._choices.unknown_policy == "release"
            and number not in self._claims.had_node
        ):
            return f"instance {number} is not ours"
        for node in nodes:
            reason = self._unfinished_on(sent, node)
            if reason is not None:
                return reason
        return None

    def _unfinished_on(self, sent: Sent, node: objects.Stored) -> str | None:
        now, sending = self._claims.now(), sent.sending
        if (
            now >= self._claims.limit_of(sending) - self._claims.slack
            or self._claims.is_refuted(sending, node, lag=0.0)
            or self._claims.is_in_doubt(sending, node)
            or self._claims.cancelled_at(sending, claims.number_of(node), by_any=True) is not None
            or self._claims.is_too_late(node, after=sending.at)
        ):
            return None
        if not self._claims.drains(sending):
            return None if node.spec.get("unschedulable") else f"{node.name} is not cordoned"
        left = [pod.name for pod in self._cluster.store.pods_on(node.name) if claims.has_to_go(pod)]
        return f"{', '.join(left)} on {node.name}" if left else None

    # Rule 5: the end.

    def _may_stay(self, sent: Sent) -> bool:
        """Return True if a message may be left to another cluster, or for its Node to be Ready."""
        if sent.sending.signal is Signal.LAUNCH:
            return not any(
                objects.is_ready(node)
                for number in sent.sending.instances
                for node in self._claims.nodes_of(number)
            )
        return self._choices.unknown_policy == "release" and any(
            not self._claims.nodes_of(number) for number in sent.sending.instances
        )

    def judge_end(self) -> None:
        """Judge what is left when everything is over.

        Raises:
            Violation: A rule was violated, now or before.
        """
        assert self.queue is not None
        endings = self.queue.endings
        for sent in self._claims.sent.values():
            if sent.message_id not in endings and not self._may_stay(sent):
                key, signal = sent.sending.key, sent.sending.signal
                self._violate(5, f"the message of event {key} ({signal}) is not settled")
        for node in self._cluster.store.every(resources.NODES):
            self._judge_mark(node)
        self._judge_actions()
        if self._cluster.history.budget_violations:
            self._violate(3, "the simulated API server granted what it should have refused")
        self.check()

    def _judge_mark(self, node: objects.Stored) -> None:
        number = claims.number_of(node)
        holding = [
            sent for sent in self._claims.naming(number) if not self._claims.is_over(sent, node)
        ]
        is_marked = bool(claims.marks(node))
        if is_marked and not holding:
            self._violate(
                5, f"{node.name} is still marked: {', '.join(sorted(claims.marks(node)))}"
            )
        if not is_marked and node.spec.get("unschedulable") and not self._claims.is_persons(node):
            self._violate(5, f"{node.name} is still cordoned")
        if objects.is_ready(node) and _OUT_OF_SERVICE in claims.taint_keys(node):
            self._violate(5, f"{node.name} is Ready, and out of service")
        lasting = [sent for sent in holding if self._must_hold(sent, node)]
        if lasting and not (is_marked and node.spec.get("unschedulable")):
            keys = ", ".join(str(sent.sending.key) for sent in lasting)
            self._violate(5, f"{node.name} is not marked, and held by {keys}")

    def _must_hold(self, sent: Sent, node: objects.Stored) -> bool:
        """Return True if the event holds the node for certain."""
        sending = sent.sending
        gives_up = self._choices.on_soft_timeout == "uncordon" and (
            sending.signal is Signal.REBALANCE or sending.signal.is_change
        )
        runs_again = any(
            each.sending.signal is Signal.RUNNING
            and set(each.sending.instances) & set(sending.instances)
            for each in self._claims.sent.values()
        )
        created_at = self._claims.seconds(node.metadata["creationTimestamp"])
        return (
            self.queue is not None
            and self.queue.endings.get(sent.message_id) is MessageEnding.DELETED
            and not (sent.is_expired or gives_up or runs_again)
            and created_at < sending.at - 1.0
            and not self._claims.is_cancellation(sending, claims.number_of(node))
            and self._claims.cancelled_at(sending, claims.number_of(node), by_any=True) is None
            and objects.is_ready(node)
            and not sending.signal.is_state
        )

    def _judge_actions(self) -> None:
        assert self.lifecycle is not None
        assert self.queue is not None
        endings = self.queue.endings
        for sent in self._claims.sent.values():
            sending = sent.sending
            if sending.signal is not Signal.TERMINATION or not self._claims.is_for_us(sending):
                continue
            number = sending.instances[0]
            record = self.lifecycle.records[f"i-{number:017x}"]
            is_deleted = endings.get(sent.message_id) is MessageEnding.DELETED
            if (
                not (is_deleted and sent.had_nodes)
                or sent.is_expired
                or not self._claims.nodes_of(number)
            ):
                continue
            if not (record.completions or record.is_over):
                self._violate(5, f"the termination of instance {number} is not completed")

    def judge_left(self, tasks: "Collection[asyncio.Task[Any]]") -> None:
        """Judge the tasks that are left after every process has ended.

        Raises:
            Violation: There are some.
        """
        left = sorted(task.get_name() for task in tasks if task.get_name().startswith(_WORK))
        if left:
            self._violate(6, f"tasks are left: {', '.join(left)}")
        self.check()
