"""Scenarios that came out right: a small one, written by hand, and the storm."""

import collections
import dataclasses
import datetime as dt
import json

from queue_processor.domain.events import EventKind, LifecycleTransition
from queue_processor.simulator.aws import lifecycle, records
from queue_processor.simulator.demo import scenarios
from queue_processor.simulator.demo.results import Observations, SentMessage
from queue_processor.simulator.demo.scenario import (
    Budget,
    DeliveryRoute,
    Noise,
    PlannedMessage,
    PlannedNode,
    Scenario,
    Workload,
)
from queue_processor.simulator.kube import history, store

START = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
GARBAGE = "{garbage"

SPOT = PlannedMessage(EventKind.SPOT_INTERRUPTION, ("a",), age=85)
TERMINATION = PlannedMessage(EventKind.AUTOSCALING_TERMINATION, ("b",))
LAUNCH = PlannedMessage(EventKind.AUTOSCALING_LAUNCH, ("c",))
MALFORMED = PlannedMessage(Noise.MALFORMED, route=DeliveryRoute.QUEUE)

PLAN = Scenario(
    name="small",
    nodes=tuple(PlannedNode(name=name, zone="us-east-1a") for name in "abcd"),
    workloads=(
        Workload(name="web", nodes=("a", "b", "d"), budget=Budget(max_unavailable=1)),
        Workload(name="licence", nodes=("a",), budget=Budget(max_unavailable=0)),
    ),
    messages=(SPOT, TERMINATION, LAUNCH, MALFORMED),
)


def at(seconds: float) -> dt.datetime:
    return START + dt.timedelta(seconds=seconds)


def message(mark: str, *, deleted: float, body: str | None = None) -> records.MessageRecord:
    return records.MessageRecord(
        message_id=f"message-{mark}",
        body=json.dumps({"id": mark}) if body is None else body,
        sent_at=at(0),
        received_at=(at(0.01),),
        ended_at=at(deleted),
        ending=records.MessageEnding.DELETED,
    )


def moved(name: str, node: str, *, since: float, gone: float) -> history.PodRecord:
    """A pod that was evicted."""
    return history.PodRecord(
        namespace="default",
        name=name,
        uid=f"uid-{name}",
        owner_uid="rs",
        created=at(-10),
        node=node,
        bound=at(-10),
        ready=at(-10),
        removal_requested=at(since),
        removal_cause=store.Cause.EVICTION,
        removal_by="operator",
        grace_seconds=30,
        signalled=at(since),
        removed=at(gone),
        termination=history.PodTermination.EXITED,
    )


def resting(name: str, node: str) -> history.PodRecord:
    """A pod that stays where it is."""
    return history.PodRecord(
        namespace="default",
        name=name,
        uid=f"uid-{name}",
        owner_uid="rs",
        created=at(-10),
        node=node,
        bound=at(-10),
        ready=at(-10),
    )


def force_deleted(name: str, node: str, *, since: float, gone: float) -> history.PodRecord:
    """A pod that was deleted against its budget."""
    return dataclasses.replace(
        moved(name, node, since=since, gone=gone), removal_cause=store.Cause.DELETE
    )


def breach(pod: str, cause: store.Cause) -> history.Breach:
    return history.Breach(
        namespace="default",
        budget="licence",
        pod=pod,
        at=at(5),
        healthy=0,
        desired=1,
        cause=cause,
        by="operator",
    )


def action(
    token: str, transition: LifecycleTransition, *, completed: float
) -> lifecycle.SimulatedLifecycleAction:
    return lifecycle.SimulatedLifecycleAction(
        hook=lifecycle.SimulatedLifecycleHook("workers", "hook", transition),
        instance_id=f"i-{token}",
        token=token,
        started_at=at(0),
        expires_at=at(300),
        completed_at=at(completed),
        result=lifecycle.LifecycleActionResult.CONTINUE,
        ending=lifecycle.LifecycleActionEnding.COMPLETED,
    )


def success() -> Observations:
    """Two nodes drained, one launched; a pod deleted at the deadline; a message dead-lettered."""
    garbage = message("garbage", body=GARBAGE, deleted=0.1)
    return Observations(
        scenario=PLAN,
        sent=(
            SentMessage(planned=SPOT, mark="spot", deadline=at(35)),
            SentMessage(planned=TERMINATION, mark="leaving", deadline=at(3600)),
            SentMessage(planned=LAUNCH, mark="coming"),
            SentMessage(planned=MALFORMED, mark=garbage.message_id),
        ),
        joined={"a": at(-10), "b": at(-10), "c": at(1), "d": at(-10)},
        messages=(
            message("spot", deleted=7.1),
            message("leaving", deleted=2.2),
            message("coming", deleted=4.1),
            garbage,
        ),
        dead_letters=(GARBAGE,),
        actions=(
            action("leaving", LifecycleTransition.TERMINATING, completed=2.1),
            action("coming", LifecycleTransition.LAUNCHING, completed=4.05),
        ),
        pods=(
            moved("web-1", "a", since=0.2, gone=1),
            moved("web-2", "b", since=1, gone=2),
            force_deleted("licence-1", "a", since=5, gone=7),
            resting("web-3", "d"),
            resting("web-4", "d"),
            resting("web-5", "d"),
            resting("licence-2", "d"),
        ),
        agents=(resting("agent-1", "a"), resting("agent-2", "d")),
        cordons={
            "a": history.CordonRecord("a", at(0.1), "operator"),
            "b": history.CordonRecord("b", at(0.3), "operator"),
        },
        unschedulable=frozenset({"a", "b"}),
        ready_at={"c": at(4)},
        evictions=(
            history.EvictionRecord(at(0.2), "operator", "default", "web-1", 201),
            history.EvictionRecord(at(0.2), "operator", "default", "web-2", 429),
            history.EvictionRecord(at(1), "operator", "default", "web-2", 201),
        ),
        breaches=(breach("licence-1", store.Cause.DELETE),),
        lows={"web": history.LowPoint("default", "web", 2, 3, at(1))},
        ready={"web": 3, "licence": 1},
        exit_code=0,
    )


def storm(*, seconds: float = 60, seed: int = 0) -> Observations:
    """The storm, so many seconds after its first event; a pod leaves each node every second."""
    plan = scenarios.compose("storm", seed=seed)
    marks = {planned: f"event-{number:03}" for number, planned in enumerate(plan.messages)}
    joined = {
        node.name: at(node.joins_after - 0.01) for node in plan.nodes if node.joins_after <= seconds
    }
    staying = next(node.name for node in plan.nodes if node.name not in plan.interrupted)
    leaving = collections.Counter[str]()
    pods = []
    for workload in plan.workloads:
        for number, node in enumerate(workload.nodes):
            name = f"{workload.name}-{number}"
            if node not in plan.interrupted:
                pods.append(resting(name, node))
                continue
            leaving[node] += 1
            pod = moved(name, node, since=0.2, gone=leaving[node])
            is_gone = leaving[node] <= seconds
            pods.append(pod if is_gone else dataclasses.replace(pod, removed=None))
            replacement = resting(f"{workload.name}-{number}x", staying)
            pods.append(
                dataclasses.replace(replacement, created=at(0.2), bound=at(0.3), ready=at(1.3))
            )
    drained = max(leaving.values())
    cordons = {
        node: history.CordonRecord(node, joined[node] + dt.timedelta(seconds=0.1), "operator")
        for node in plan.interrupted
        if node in joined
    }
    (held_up,) = (each for each in plan.messages if each.has_lifecycle_action)
    return Observations(
        scenario=plan,
        sent=[
            SentMessage(
                planned=planned,
                mark="message-garbage" if planned.kind is Noise.MALFORMED else mark,
                deadline=at(120) if planned.is_interruption else None,
            )
            for planned, mark in marks.items()
        ],
        joined=joined,
        messages=[
            message("garbage", body=GARBAGE, deleted=0.1)
            if planned.kind is Noise.MALFORMED
            else message(mark, deleted=drained + 1)
            for planned, mark in marks.items()
        ],
        dead_letters=(GARBAGE,),
        actions=(action(marks[held_up], LifecycleTransition.TERMINATING, completed=drained + 0.5),),
        pods=pods,
        cordons=cordons,
        unschedulable=frozenset(cordons),
        ready={workload.name: workload.replicas for workload in plan.workloads},
        exit_code=0,
    )
