"""What NTH reads, which nodes it takes, and how it drains them."""

import dataclasses
from collections.abc import Sequence

from queue_processor.domain.nodes import TaintEffect
from queue_processor.settings.nth.rules import (
    AboveOnly,
    Answer,
    Becomes,
    Either,
    Everywhere,
    Fate,
    Given,
    Left,
    NotAllowed,
    Row,
    Variable,
    different,
    flag,
    needless,
    number,
    text,
    unsupported,
)

_TAG = "aws-node-termination-handler/managed"
_NODE_SECONDS = 120
# All but launches, at which nothing is drained.
_DRAINING = (
    "spot_interruption",
    "capacity_reservation_interruption",
    "rebalance_recommendation",
    "autoscaling_termination",
    "state_change",
    "scheduled_change",
)


@dataclasses.dataclass(frozen=True, slots=True)
class _Tag:
    """The tag that an instance has to carry."""

    def answer(self, value: object, given: Given) -> Answer:
        """Take the tag that is set, or the one that NTH assumes."""
        del value
        why = (
            "only instances with this tag are drained, as NTH does unless it is told otherwise; the"
            " role needs ec2:DescribeInstances for it (UseManagedTag=true for the stack); without"
            " the setting all nodes of the cluster are ours"
        )
        tag = text(given.get("MANAGED_TAG", _TAG))
        return Answer(fate=Fate.MAPPED, why=why, settings={("managed_tag",): tag})

    def described(self) -> str:
        """The name of our setting."""
        return (
            f"`managed_tag` is `MANAGED_TAG`, or `{_TAG}`; this is NTH's default, so it is also"
            " made where nothing is set"
        )


def _effect(value: object) -> str:
    effect = text(value)
    if effect not in set(TaintEffect):
        raise NotAllowed(f"one of {', '.join(TaintEffect)} is needed")
    return effect


_KEYS = different(
    "keys are not carried over; give the service account an IAM role, or set the variables of the"
    " AWS SDK from a Secret of your own"
)

ROWS: Sequence[Row] = (
    Row(
        name="ENABLE_SQS_TERMINATION_DRAINING",
        key="enableSqsTerminationDraining",
        rule=Either(
            on=needless("reading a queue is all that the program does"),
            off=unsupported(
                "this is IMDS mode, in which NTH runs on every node and reads no queue; the queue"
                " and its rules are in infra/cloudformation"
            ),
        ),
    ),
    Row(name="QUEUE_URL", key="queueURL", rule=Becomes("queue_url")),
    Row(name="AWS_REGION", key="awsRegion", rule=Variable("AWS_REGION")),
    Row(name="AWS_ENDPOINT", key="awsEndpoint", rule=Variable("AWS_ENDPOINT_URL")),
    Row(name="AWS_ACCESS_KEY_ID", key="awsAccessKeyID", rule=_KEYS),
    Row(name="AWS_SECRET_ACCESS_KEY", key="awsSecretAccessKey", rule=_KEYS),
    Row(
        name="WORKERS",
        key="workers",
        rule=needless(
            "every node has a worker of its own; `kubernetes.requests_in_flight` bounds the"
            " requests"
        ),
    ),
    Row(
        name="CHECK_TAG_BEFORE_DRAINING",
        key="checkTagBeforeDraining",
        rule=Either(
            on=_Tag(), off=needless("without `managed_tag` every node of the cluster is ours")
        ),
        old_names=("CHECK_ASG_TAG_BEFORE_DRAINING",),
        assumed="true",
    ),
    Row(
        name="MANAGED_TAG",
        key="managedTag",
        rule=Left(Fate.MAPPED, "`managed_tag`; see `CHECK_TAG_BEFORE_DRAINING`"),
        old_names=("MANAGED_ASG_TAG",),
    ),
    Row(
        name="USE_PROVIDER_ID",
        key="useProviderId",
        rule=needless("nodes are always found by their provider id, without a call to AWS"),
    ),
    Row(
        name="DELETE_SQS_MSG_IF_NODE_NOT_FOUND",
        key="deleteSqsMsgIfNodeNotFound",
        rule=Becomes(
            "drain.unknown_instance_policy",
            read=lambda value: "delete" if flag(value) else "release",
            why="`true` is `delete`, which waits for `drain.unknown_instance_grace_seconds` first;"
            " `false` is `release`, which only a queue that clusters share needs: in any other"
            " such messages end up in the dead-letter queue",
        ),
    ),
    Row(
        name="COMPLETE_LIFECYCLE_ACTION_DELAY_SECONDS",
        key="completeLifecycleActionDelaySeconds",
        rule=AboveOnly(
            0,
            above=unsupported(
                "the action is completed as soon as the node is drained and the volumes of its"
                " pods are detached"
            ),
            others=needless("there is no delay"),
        ),
    ),
    Row(
        name="HEARTBEAT_INTERVAL",
        key="heartbeatInterval",
        rule=needless("heartbeats are sent at half of the hook's own timeout"),
    ),
    Row(
        name="HEARTBEAT_UNTIL",
        key="heartbeatUntil",
        rule=needless(
            "heartbeats are sent until the drain is over;"
            " `drain.lifecycle_drain_timeout_seconds` bounds it"
        ),
    ),
    Row(
        name="NODE_TERMINATION_GRACE_PERIOD",
        key="nodeTerminationGracePeriod",
        rule=AboveOnly(
            _NODE_SECONDS,
            above=Becomes(
                "drain.lifecycle_drain_timeout_seconds",
                read=number,
                why="other deadlines come from the event; a pod that its budget still blocks then"
                " is deleted, unless `drain.on_deadline` is `leave`",
            ),
            others=needless(
                "deadlines come from the event, and from `drain.lifecycle_drain_timeout_seconds`"
                " and `drain.soft_drain_timeout_seconds`"
            ),
        ),
    ),
    Row(
        name="POD_TERMINATION_GRACE_PERIOD",
        key="podTerminationGracePeriod",
        rule=AboveOnly(
            -1,
            above=different(
                "every pod gets the grace period that it asks for, shortened only by a deadline of"
                " the instance"
            ),
            others=needless("the pod's own grace period holds"),
        ),
        old_names=("GRACE_PERIOD",),
    ),
    Row(
        name="IGNORE_DAEMON_SETS",
        key="ignoreDaemonSets",
        rule=Either(
            on=needless("pods of DaemonSets always stay"),
            off=different("pods of DaemonSets always stay: they would be made anew at once"),
        ),
    ),
    Row(
        name="DELETE_LOCAL_DATA",
        key="deleteLocalData",
        rule=Either(
            on=needless("pods with an emptyDir are always evicted"),
            off=different("pods with an emptyDir are evicted: the instance goes with their data"),
        ),
    ),
    Row(
        name="CORDON_ONLY",
        key="cordonOnly",
        rule=Either(
            on=Everywhere(_DRAINING, "cordon"), off=needless("nodes are drained by default")
        ),
    ),
    Row(
        name="TAINT_NODE",
        key="taintNode",
        rule=Either(
            on=needless(
                "nodes are always tainted, with `queue-processor/<kind>`: pods that tolerate the"
                " taints of NTH have to tolerate these"
            ),
            off=different("nodes are always tainted, with `queue-processor/<kind>`"),
        ),
    ),
    Row(name="TAINT_EFFECT", key="taintEffect", rule=Becomes("drain.taint_effect", read=_effect)),
    Row(
        name="ENABLE_OUT_OF_SERVICE_TAINT",
        key="enableOutOfServiceTaint",
        rule=Becomes(
            "drain.out_of_service_taint",
            read=flag,
            why="only nodes that are not Ready and whose instance is gone get it",
        ),
    ),
    Row(
        name="EXCLUDE_FROM_LOAD_BALANCERS",
        key="excludeFromLoadBalancers",
        rule=Either(
            on=needless("nodes are always taken out of load balancers"),
            off=different("nodes are always taken out of load balancers"),
        ),
    ),
    Row(
        name="DRY_RUN",
        key="dryRun",
        rule=Either(
            on=Everywhere(
                _DRAINING,
                "ignore",
                why="messages are still deleted; `queue-processor demo` rehearses, and"
                " `queue-processor messages explain` says what would be done",
            ),
            off=needless("nothing is left undone by default"),
        ),
    ),
)
