"""Check the API server, permissions, nodes, and who else is at work."""

from collections.abc import Iterator

from queue_processor.adapters.kube import permissions as kube_permissions
from queue_processor.adapters.kube.other_handlers import OtherHandler, OtherHandlerPod
from queue_processor.doctor import findings
from queue_processor.doctor.findings import Finding
from queue_processor.doctor.installation import Installation
from queue_processor.doctor.readings import NodesReading
from queue_processor.doctor.shared_reads import or_none
from queue_processor.domain.events import EventKind
from queue_processor.domain.plan import Action
from queue_processor.domain.policy import Mode
from queue_processor.settings import Settings

_NAMED_NODES = 3
# https://karpenter.sh/docs/concepts/disruption/#interruption
_HANDLED_BY_KARPENTER = (
    EventKind.SPOT_INTERRUPTION,
    EventKind.CAPACITY_RESERVATION_INTERRUPTION,
    EventKind.STATE_CHANGE,
    EventKind.SCHEDULED_CHANGE,
)


async def api_server(installation: Installation) -> Finding:
    """See that the API server can be reached."""
    cluster = await installation.cluster()
    return findings.ok(f"{cluster.version} at {cluster.name}")


async def permissions(installation: Installation) -> Finding:
    """See that the account of the kubeconfig, or of the pod, has what `run` needs."""
    needed, missing = await installation.permissions()
    if not missing:
        cluster = await installation.cluster()
        return findings.ok(f"all {len(needed)} are granted at {cluster.name}")
    is_fatal = any(permission.is_needed for permission in missing)
    cause = f"not allowed: {', '.join(map(str, missing))}"
    cure = kube_permissions.cure_for(await installation.settings())
    return (findings.failed if is_fatal else findings.warning)(cause, cure)


async def nodes(installation: Installation) -> Finding:
    """See that the instances of nodes can be identified."""
    reading = await installation.nodes()
    mapped, unmapped = len(reading.mapped), len(reading.unmapped)
    if unmapped:
        names = ", ".join(node.name for node in reading.unmapped[:_NAMED_NODES])
        more = ", …" if unmapped > _NAMED_NODES else ""
        return (findings.warning if mapped else findings.failed)(
            f"{unmapped} of {mapped + unmapped} nodes name no EC2 instance, so that no event can be"
            f" matched to them: {names}{more} ({reading.unmapped[0].cause})",
            "run the AWS cloud provider, or `kubectl label node NODE"
            " alpha.eksctl.io/instance-id=INSTANCE-ID`; exclude nodes outside of EC2 with"
            " node_selector",
        )
    if not mapped:
        return findings.warning(
            "no node on EC2 is selected", "check node_selector, and the context of the kubeconfig"
        )
    return findings.ok(f"{mapped} on EC2")


async def consumers(installation: Installation) -> Finding:
    """See that one operator, and nobody else, receives the messages."""
    if not (await installation.settings()).elects_leader:
        return findings.skipped("without leader election nothing shows who is at work")
    now, every = installation.clock(), await installation.leases()
    leaders = {space: lease.holder for space, lease in every.items() if lease.is_held(now)}
    reading = await or_none(installation.queue)
    in_flight = 0 if reading is None else reading.state.in_flight
    match list(leaders.items()):
        case [] if in_flight:
            return findings.warning(
                f"no operator leads here, but {in_flight} messages are in flight: another program"
                " receives them, or an operator was stopped a moment ago",
                "stop the other consumer, or give it a queue of its own; then check again in a"
                " minute",
            )
        case []:
            return findings.warning(
                "no operator leads, so nobody receives events",
                "start the operator; if it runs, see QueueProcessorLeaderMissing in the runbook",
            )
        case [(_, holder)]:
            return findings.ok(f"{holder} leads")
        case several:
            return findings.warning(
                "several operators lead in this cluster, which do the same work if they share the"
                f" queue: {', '.join(f'{holder} in {space}' for space, holder in several)}",
                "remove all but one, or give each a queue and nodes (node_selector) of its own",
            )


async def other_handlers(installation: Installation) -> Finding:
    """See that no other program handles the same nodes."""
    settings, pods = await installation.settings(), await installation.other_handlers()
    by_place = {(pod.handler, pod.namespace, pod.queue): pod for pod in pods}
    ours = (settings.queue_url or "").rpartition("/")[2]
    nodes_read = await or_none(installation.nodes)
    problems = [
        problem
        for pod in by_place.values()
        for problem in _problems_of(pod, ours, settings, nodes_read)
    ]
    return findings.merged(
        problems, otherwise=findings.ok("neither NTH nor Karpenter handles these nodes")
    )


def _problems_of(
    pod: OtherHandlerPod, our_queue: str, settings: Settings, nodes_read: NodesReading | None
) -> Iterator[Finding]:
    where = f"{pod.handler} in {pod.namespace}"
    if our_queue and pod.queue_name == our_queue:
        yield findings.failed(
            f"{where} reads this very queue, so each of the two misses events",
            f"give {pod.handler} another queue, or remove it",
        )
    elif settings.mode is Mode.OBSERVE:
        # It works beside others, though not on the same queue.
        return
    elif pod.handler is OtherHandler.NTH:
        yield findings.warning(
            f"{where} drains the same nodes",
            "remove it; `queue-processor migrate` converts its settings",
        )
    elif pod.queue and _overlaps(settings, nodes_read):
        yield findings.warning(
            f"{where} handles interruptions of its nodes, too",
            f"set {', '.join(f'actions.{kind}' for kind in _HANDLED_BY_KARPENTER)} to ignore, or"
            " exclude its nodes with node_selector",
        )


def _overlaps(settings: Settings, nodes_read: NodesReading | None) -> bool:
    """Return True if Karpenter launched nodes that are ours, and both handle the same events."""
    actions = settings.actions.by_kind()
    is_handled = any(actions[kind] is not Action.IGNORE for kind in _HANDLED_BY_KARPENTER)
    return is_handled and (nodes_read is None or nodes_read.of_karpenter > 0)
