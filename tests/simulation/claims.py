"""The work that the messages so far ask for: on which nodes, until when, and whether it is over.

All of it follows from the messages and from the simulated cluster.
"""

import dataclasses
import datetime as dt
import math
from collections.abc import Iterator, Mapping

from queue_processor.controller import ports
from queue_processor.simulator.kube import objects, resources
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.simulation.scenario import Incident, Scenario, Sending, Signal

_NOTICE = 120.0
_LATE_WINDOW = 30.0
_DEAD_WINDOW = 120.0
_OWN_LEAD = 30.0
# The least that a hook's actions last: with a timeout that could not be looked up.
_SHORTEST_ACTION = 3000.0
# The program learns of a change a moment later.
LAG = 5.0
_EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
_MARK = "queue-processor/"
_SETTINGS = {
    Signal.SPOT: "spot_interruption",
    Signal.CAPACITY: "capacity_reservation_interruption",
    Signal.REBALANCE: "rebalance_recommendation",
    Signal.TERMINATION: "autoscaling_termination",
    Signal.STOPPING: "state_change",
    Signal.SHUTTING_DOWN: "state_change",
    Signal.STOPPED: "state_change",
    Signal.TERMINATED: "state_change",
    Signal.RUNNING: "state_change",
    Signal.CHANGE: "scheduled_change",
    Signal.CHANGE_CLOSED: "scheduled_change",
    Signal.CHANGE_RESOLVED: "scheduled_change",
}


@dataclasses.dataclass(slots=True, kw_only=True)
class Sent:
    """A message on the queue.

    Attributes:
        had_nodes: Each instance had a Node when it was sent.
        settled_at: When the program deleted it.
        is_expired: The queue dropped it.
    """

    sending: Sending
    message_id: str
    had_nodes: bool
    settled_at: float | None = None
    is_expired: bool = False


class Claims:
    """The claims of all messages on the nodes of one world.

    Attributes:
        sent: The messages, by id.
        had_node: When an instance had its first Node.
        first_uids: Of the first Node of each name.
        handovers: When another process began to work.
        slack: How wrong the clock of a process may be, in seconds.
    """

    def __init__(
        self, scenario: Scenario, *, cluster: SimulatedCluster, clock: ports.Clock
    ) -> None:
        self._scenario = scenario
        self._choices = scenario.choices
        self._cluster = cluster
        self._clock = clock
        self._zero = clock()
        self.sent: dict[str, Sent] = {}
        self.had_node: dict[int, float] = {}
        self.first_uids: dict[str, str] = {}
        self.handovers: list[float] = []
        self.slack = 2.0 + sum(
            abs(each.seconds)
            for each in scenario.occurrences
            if each.incident is Incident.CLOCK_SET
        )

    def now(self) -> float:
        """Return the seconds since the start of the world."""
        return (self._clock() - self._zero).total_seconds()

    # What events say.

    def is_for_us(self, sending: Sending) -> bool:
        setting = _SETTINGS.get(sending.signal)
        return setting is not None and setting not in self._choices.ignored

    def drains(self, sending: Sending) -> bool:
        return _SETTINGS[sending.signal] not in self._choices.only_cordoned

    def naming(self, number: int) -> Iterator[Sent]:
        """Yield the events so far that name an instance because it goes."""
        for sent in self.sent.values():
            sending = sent.sending
            if number not in sending.instances or not self.is_for_us(sending):
                continue
            if not self.is_cancellation(sending, number):
                yield sent

    def is_cancellation(self, sending: Sending, number: int) -> bool:
        """Return True if it says that the instance stays; a part of a change may be resolved."""
        if sending.signal is Signal.CHANGE_RESOLVED:
            return number == sending.instances[0]
        return sending.signal in {Signal.CHANGE_CLOSED, Signal.RUNNING}

    def cancelled_at(
        self, sending: Sending, number: int, *, by_any: bool = False, by_running: bool = True
    ) -> float | None:
        """Return when an event was cancelled for an instance, by a message that came later.

        Args:
            sending: The event.
            number: Of the instance.
            by_any: Count messages that have not been settled.
            by_running: Count that the instance runs, which ends what it fulfilled.
        """
        moments = []
        for sent in self.sent.values():
            other = sent.sending
            if number not in other.instances or not self.is_cancellation(other, number):
                continue
            if other.signal is Signal.RUNNING:
                if not by_running:
                    continue
                is_past = sending.signal.is_state or self.limit_of(sending) <= other.at
                # It may still be in the works when an older state change arrives.
                works_until = math.inf if sent.settled_at is None else sent.settled_at
                is_cancelled = is_past and max(other.at, works_until) >= sending.at
            else:
                is_cancelled = other.change == sending.change
            if is_cancelled and other.occurred_at >= sending.occurred_at:
                moments.append(sent.settled_at if not by_any else other.at)
        settled = [moment for moment in moments if moment is not None]
        return min(settled, default=None)

    def is_over(self, sent: Sent, node: objects.Stored) -> bool:
        """Return True if an event asks for nothing on a node any more."""
        sending, number = sent.sending, number_of(node)
        if self.is_refuted(sending, node):
            return True
        if sending.signal.is_state or not sending.signal.is_change:
            return False
        cancelled_at = self.cancelled_at(sending, number, by_running=False)
        if cancelled_at is None:
            return False
        # A process remembers what was cancelled, and the next one does not.
        is_late_copy = sent.sending.at > cancelled_at
        if is_late_copy and any(cancelled_at <= each for each in self.handovers):
            return False
        return self.now() - cancelled_at > LAG

    def is_refuted(self, sending: Sending, node: objects.Stored, *, lag: float = LAG) -> bool:
        """Return True if the node has shown for a while that the state of its instance is past."""
        if not sending.signal.is_state or not objects.is_ready(node):
            return False
        condition = ready(node)
        signs: list[str | None] = [condition["lastTransitionTime"]]
        if sending.signal.is_final:
            signs += [node.metadata["creationTimestamp"], condition.get("lastHeartbeatTime")]
        alive_at = max(self.seconds(sign) for sign in signs if sign)
        ready_since = self.seconds(condition["lastTransitionTime"])
        return alive_at > sending.occurred_at and self.now() - ready_since >= lag

    def is_in_doubt(self, sending: Sending, node: objects.Stored) -> bool:
        """Return True if a node was Ready so recently that the program may not know better."""
        changed_at = self.seconds(ready(node)["lastTransitionTime"])
        return sending.signal.is_state and self.now() - changed_at < LAG

    def is_dead(self, node: objects.Stored) -> bool:
        """Return True if there is evidence that the instance does not run."""
        if objects.is_ready(node):
            return False
        condition = ready(node)
        signs = [node.metadata["creationTimestamp"], condition.get("lastHeartbeatTime")]
        alive_at = max(self.seconds(sign) for sign in signs if sign)
        return any(
            sent.sending.signal.is_final and sent.sending.occurred_at >= alive_at
            for sent in self.naming(number_of(node))
        )

    def is_hard(self, sending: Sending) -> bool:
        """Return True if a scheduled change was still ahead when it was announced."""
        return sending.starts_at > self.first_at(sending) - self.slack

    def first_at(self, sending: Sending) -> float:
        """Return when the event was sent for the first time."""
        return min(
            (each.sending.at for each in self.sent.values() if each.sending.key == sending.key),
            default=sending.at,
        )

    # What the cluster shows.

    def nodes_of(self, number: int) -> list[objects.Stored]:
        nodes = self._cluster.store.every(resources.NODES)
        return [node for node in nodes if number_of(node) == number]

    def is_too_late(self, node: objects.Stored, *, after: float) -> bool:
        """Return True for a Node that registers when the work for an event has ended without it.

        Its instance had another one before, or was not awaited any more.
        """
        created_at = self.seconds(node.metadata["creationTimestamp"])
        is_second = self.had_node[number_of(node)] < created_at - 1.0
        awaited_until = after if is_second else after + self._choices.unknown_grace
        return created_at >= awaited_until - 1.0

    def seconds(self, stamp: str) -> float:
        return (dt.datetime.fromisoformat(stamp) - self._zero).total_seconds()

    def is_persons(self, node: objects.Stored) -> bool:
        return self.first_uids.get(node.name) == node.uid and any(
            machine.cordoned_by_person and node.name == f"node-{machine.number}"
            for machine in self._scenario.machines
            if not machine.joins_at
        )

    def is_as_person_left_it(self, node: objects.Stored) -> bool:
        return bool(node.spec.get("unschedulable")) and _EXCLUDED in node.metadata["labels"]

    # How long they have.

    def due_at(self, sent: Sent, grace: float) -> float | None:
        """Return when an event lets a pod be deleted whatever its budget; None: never."""
        lead = max(grace, self._choices.force_margin)
        sending = sent.sending
        match sending.signal:
            case Signal.TERMINATION:
                own_limit_at = self.first_at(sending) + self._choices.lifecycle_timeout
                latest = sending.occurred_at + _SHORTEST_ACTION - lead
                return min(latest, own_limit_at - min(lead, _OWN_LEAD)) - 1.0
            case Signal.CHANGE | Signal.CHANGE_RESOLVED:
                return sending.starts_at - lead - 1.0 if self.is_hard(sending) else None
            case Signal.SPOT | Signal.CAPACITY | Signal.STOPPING | Signal.SHUTTING_DOWN:
                return sending.occurred_at + _NOTICE - lead - 1.0
            case _:
                return None

    def limit_of(self, sending: Sending) -> float:
        """Return when the work for an event is over, whatever is left."""
        began_at = self.first_at(sending)
        match sending.signal:
            case Signal.TERMINATION:
                ends_at = sending.occurred_at + _SHORTEST_ACTION
                own_limit = self._choices.lifecycle_timeout
                if ends_at <= began_at:
                    own_limit = min(own_limit, _LATE_WINDOW)
                limit = began_at + own_limit
            case Signal.STOPPED | Signal.TERMINATED:
                limit = began_at + _DEAD_WINDOW
            case Signal.SPOT | Signal.CAPACITY | Signal.STOPPING | Signal.SHUTTING_DOWN:
                limit = sending.occurred_at + _NOTICE
            case Signal.CHANGE | Signal.CHANGE_RESOLVED if sending.starts_at > began_at:
                limit = sending.starts_at
            case Signal.CHANGE | Signal.CHANGE_RESOLVED if self.is_hard(sending):
                # Whether it was ahead depends on the clock of the process.
                limit = began_at + min(self._choices.soft_timeout, _LATE_WINDOW)
            case _:
                limit = began_at + self._choices.soft_timeout
        if limit <= began_at:
            return began_at + _LATE_WINDOW
        return limit


def number_of(node: objects.Stored) -> int:
    """Return the number of the instance that a node runs on."""
    return int(str(node.spec["providerID"]).rpartition("/i-")[2], 16)


def taint_keys(node: objects.Stored) -> set[str]:
    return {taint["key"] for taint in node.spec.get("taints") or ()}


def marks(node: objects.Stored) -> set[str]:
    """Return everything on a node that is the program's own."""
    keys = {*taint_keys(node), *node.annotations}
    return {key for key in keys if key.startswith(_MARK)}


def ready(node: objects.Stored) -> Mapping[str, str]:
    return objects.condition(node.status.get("conditions"), "Ready") or {}


def has_to_go(pod: objects.Stored) -> bool:
    """Return True for a pod that a drain waits for."""
    owners = pod.metadata.get("ownerReferences") or ()
    is_daemon = any(owner["kind"] == "DaemonSet" for owner in owners)
    is_mirror = "kubernetes.io/config.mirror" in pod.annotations
    is_finished = pod.status.get("phase") in {"Succeeded", "Failed"}
    return not (is_daemon or is_mirror or is_finished)
