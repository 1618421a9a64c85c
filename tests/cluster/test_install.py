"""docs/install.md, line by line: its commands in a shell, against a real API server.

AWS is simulated, and asked by its own command line. Not to be had are a container runtime, so that
`docker` does nothing; kubelets that run containers, so that the operator is a process beside its
pod, with the pod's settings and its account. What moto cannot do, the hooks and the deletion of the
stacks, is tried in tests/infra/test_ministack.py.

Of the short path, without a queue, no process runs: the tests look at the nodes on which the API
server has watchers, at the settings of the operator, and whether the commands end. The rights of a
watcher are tried in test_watcher.py.
"""

import asyncio
import contextlib
import os
import pathlib
import re
import sys
from collections.abc import AsyncIterator, Iterator, Mapping

import pytest
import yaml
from moto.cloudformation import models, parsing

from queue_processor.simulator.aws import patches, simulator
from tests import gobinaries, guide, operators
from tests.cluster import assets, manifests, plane, world
from tests.deploy import chart, programs
from tests.infra import templates

# Either way leaves out what the document offers instead.
WAYS = {
    "with EKS Pod Identity and Helm": (
        *(guide.SHORT, guide.LATER),
        "With IAM roles for service accounts (IRSA)",
        "With kubectl alone",
    ),
    "with IRSA and kubectl": (
        *(guide.SHORT, guide.LATER),
        *("With EKS Pod Identity", "With Helm"),
    ),
}
CLUSTER = "my-cluster"
OPERATOR_KUBECONFIG = "operator.kubeconfig"
SETTINGS = "/api/v1/namespaces/queue-processor/configmaps/queue-processor"
DEPLOYMENT = "/apis/apps/v1/namespaces/queue-processor/deployments/queue-processor"
ACCOUNT = "/api/v1/namespaces/queue-processor/serviceaccounts/queue-processor"
SYSTEM = "kube-system"
WATCHERS = "app.kubernetes.io/name=queue-processor-watcher"
# The nodes of a cluster with Spot nodes, by their labels, and whether they are to be watched.
LABELS = {
    "by-hand": {"lifecycle": "Ec2Spot"},
    "of-eks": {"eks.amazonaws.com/capacityType": "SPOT"},
    "of-karpenter": {"karpenter.sh/capacity-type": "spot"},
    "on-demand": {"eks.amazonaws.com/capacityType": "ON_DEMAND"},
    "without": {},
}
SPOT = {"by-hand", "of-eks", "of-karpenter"}

# Helm may have to be built first.
pytestmark = pytest.mark.timeout(gobinaries.BUILD_SECONDS)


@pytest.fixture(scope="module")
def aws() -> Iterator[simulator.AwsSimulator]:
    """AWS, where a stack has its outputs also when it was made through a change set."""
    apply = models.ChangeSet.apply

    def apply_whole(change_set: models.ChangeSet) -> None:
        apply(change_set)
        stack = change_set.stack
        stack.output_map = parsing.OutputMap(
            stack.resource_map, change_set.template_dict, stack.stack_id
        )

    parameters = ("self",)
    mended = patches.replaced(models.ChangeSet, "apply", apply_whole, parameters=parameters)
    with mended, simulator.AwsSimulator() as running:
        yield running


@pytest.fixture
def account(aws: simulator.AwsSimulator) -> simulator.AwsSimulator:
    """An account in which there is nothing but the cluster."""
    aws.reset()
    with contextlib.closing(aws.session.client("eks", endpoint_url=aws.endpoint_url)) as eks:
        eks.create_cluster(
            name=CLUSTER,
            roleArn="arn:aws:iam::123456789012:role/cluster",
            resourcesVpcConfig={"subnetIds": ["subnet-1", "subnet-2"]},
        )
    return aws


@pytest.fixture
async def cluster(control_plane: plane.ControlPlane) -> AsyncIterator[world.World]:
    """A cluster without the operator, with two nodes and some pods."""
    ours = ("delete", f"--filename={chart.BASE.path}", "--ignore-not-found")
    await asyncio.to_thread(control_plane.kubectl, *ours)
    async with world.opened(control_plane) as opened:
        await opened.make_namespace()
        instances = [("node-a", "i-0aaaaaaaaaaaaaaaa"), ("node-b", "i-0bbbbbbbbbbbbbbbb")]
        await opened.make_nodes(instances, **{"kubernetes.io/os": "linux"})
        await opened.create(manifests.owned("Deployment", "web", manifests.PodShape(), replicas=4))
        yield opened
        await asyncio.to_thread(control_plane.kubectl, *ours)
        await opened.clear()


@pytest.fixture
def shell(
    account: simulator.AwsSimulator, control_plane: plane.ControlPlane, tmp_path: pathlib.Path
) -> dict[str, str]:
    """The environment of somebody with the tools, the account and the cluster."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "helm").symlink_to(programs.built_or_skip() / "helm")
    # No container runs here: what runs in the pod is a process with the account of the pod.
    of_operator = f"KUBECONFIG={tmp_path / OPERATOR_KUBECONFIG} {sys.executable} -m queue_processor"
    guide.script(
        tools / "kubectl",
        f'[[ "$3" != exec ]] || {{ {of_operator} "${{@:7}}"; exit; }}\n'
        f'exec {assets.find() / "kubectl"} "$@"',
    )
    # CloudFormation prints the host of AWS in the simulator too, and version 1 of the CLI, which is
    # the one that PyPI has, asks the host of SQS in spite of AWS_ENDPOINT_URL.
    here = account.endpoint_url
    cli = f'{guide.aws_cli()} --endpoint-url {here} "$@"'
    # moto deletes policies before what they are attached to, and so refuses.
    skipped = '[[ "$*" =~ delete-stack|stack-delete-complete ]] && exit 0'
    guide.script(
        tools / "aws", f"{skipped}\n{cli} | sed s,https://sqs.us-east-1.amazonaws.com,{here},"
    )
    guide.script(tools / "docker", "exit 0")
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("AWS_", "KUBECONFIG", "QUEUE_PROCESSOR_"))
    }
    return {
        **kept,
        **account.environment(),
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        # Where the overlays are copied to.
        "HOME": str(tmp_path),
        "KUBECONFIG": str(control_plane.admin.write_kubeconfig(tmp_path / "admin")),
        "PATH": f"{tools}:/usr/bin:/bin",
    }


class Pod(operators.Operators):
    """The operator with what its pod gets: its settings, its account."""

    def __init__(
        self, cluster: world.World, shell: Mapping[str, str], folder: pathlib.Path
    ) -> None:
        super().__init__(folder)
        self._cluster = cluster
        self._shell = shell
        self._settings = folder / "settings.yaml"
        self._kubeconfig = folder / OPERATOR_KUBECONFIG

    def environment(self) -> Mapping[str, str]:
        """The shell's settings for AWS, and the files of the pod."""
        return {
            **self._shell,
            "KUBECONFIG": str(self._kubeconfig),
            "QUEUE_PROCESSOR_CONFIG": str(self._settings),
            "QUEUE_PROCESSOR_LEADER_ELECTION__NAMESPACE": chart.NAMESPACE,
        }

    async def run(self) -> None:
        """Start as soon as everything is installed; that it ends is a failure."""
        await self._cluster.until(
            lambda: self._cluster.get(DEPLOYMENT), limit=guide.PATIENCE_SECONDS
        )
        found = await self._cluster.get(SETTINGS)
        assert found is not None
        self._settings.write_text(found["data"][self._settings.name], encoding="utf-8")
        access = await self._cluster.operator_access()
        access.write_kubeconfig(self._kubeconfig)
        operator = await self.start()
        raise AssertionError(f"it ended with {await operator.ended(guide.PATIENCE_SECONDS)}")


@contextlib.asynccontextmanager
async def running(pod: Pod) -> AsyncIterator[None]:
    """Let the operator run as soon as it is installed, until the block ends."""
    try:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(pod.run())
            yield
            task.cancel()
    finally:
        await pod.close()


@contextlib.asynccontextmanager
async def described(control_plane: plane.ControlPlane) -> AsyncIterator[None]:
    """Add the state of nodes and pods to a failure: a shell prints only that it timed out."""
    try:
        yield
    except AssertionError as failure:
        for arguments in (("get", "nodes,pods", "-A", "-o", "wide"), ("get", "events", "-A")):
            failure.add_note(await asyncio.to_thread(control_plane.kubectl, *arguments))
        failure.add_note(
            await asyncio.to_thread(
                control_plane.kubectl, "describe", "pods", f"--namespace={chart.NAMESPACE}"
            )
        )
        raise


def test_the_document_names_parameters_that_the_stack_has() -> None:
    text = "".join(command for _, command in guide.blocks())
    named = {
        name
        for overrides in re.findall(r"--parameter-overrides((?:\\\n|.)+)", text)
        for name in re.findall(r"\b([A-Z]\w+)=", overrides)
    }
    assert {"WorkloadIdentity", "ClusterName", "OidcProviderArn"} <= named
    known = [templates.read(each)["Parameters"] for each in (templates.QUEUE, templates.HOOKS)]
    assert named <= {name for parameters in known for name in parameters}


@pytest.mark.parametrize("way", WAYS)
async def test_the_document_leads_from_nothing_to_a_drained_node(
    cluster: world.World,
    control_plane: plane.ControlPlane,
    shell: dict[str, str],
    tmp_path: pathlib.Path,
    way: str,
) -> None:
    without = {*WAYS[way], guide.OBSERVE, guide.SWITCH, guide.HOOKS, guide.REMOVAL}
    text = "".join(command for heading, command in guide.blocks() if heading not in without)
    async with running(Pod(cluster, shell, tmp_path)), described(control_plane):
        said = await guide.typed(text, shell)

    assert 'deployment "queue-processor" successfully rolled out' in said
    assert "node/node-a condition met" in said
    assert "node-a: back in use" in said
    account = await cluster.get(ACCOUNT)
    assert account is not None
    role = account["metadata"].get("annotations", {}).get("eks.amazonaws.com/role-arn", "")
    assert role.startswith("arn:aws:iam::") is ("IRSA" in way)
    node = await cluster.node("node-a")
    assert node is not None
    assert not node["spec"].get("taints")
    assert len(await cluster.running(app="web")) == 4
    assert {pod["spec"]["nodeName"] for pod in await cluster.running(app="web")} == {"node-b"}


async def test_the_document_leads_back(cluster: world.World, shell: dict[str, str]) -> None:
    without = {*WAYS["with EKS Pod Identity and Helm"], guide.HOOKS, guide.DRAIN}
    text = "".join(command for heading, command in guide.blocks() if heading not in without)
    await guide.typed(text, shell)

    assert await cluster.get(f"/api/v1/namespaces/{chart.NAMESPACE}") is None
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    assert await cluster.items(roles, labelSelector="app.kubernetes.io/name=queue-processor") == []


ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/queue-processor"
LEASE_ROLES = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{chart.NAMESPACE}/roles"


async def verbs_and_lease_roles(cluster: world.World) -> tuple[set[str], int]:
    """The verbs in the ClusterRole of the operator, and the number of its other roles."""
    role = await cluster.get(ROLE)
    assert role is not None
    verbs = {verb for rule in role["rules"] for verb in rule["verbs"]}
    return verbs, len(await cluster.items(LEASE_ROLES))


async def test_the_document_leads_from_an_observer_to_an_operator_that_drains(
    cluster: world.World, control_plane: plane.ControlPlane, shell: dict[str, str]
) -> None:
    blocks = guide.blocks()
    stack = blocks[: [heading for heading, _ in blocks].index(guide.DRAIN)]
    without = {
        *WAYS["with EKS Pod Identity and Helm"],
        *(guide.HOOKS, "With Helm", "Either way"),
    }
    before = "".join(
        command
        for heading, command in stack
        if heading not in without or command.startswith("QUEUE_URL=")
    )
    by_heading = dict(blocks)
    async with described(control_plane):
        await guide.typed(before + by_heading[guide.OBSERVE], shell)
        observing = await verbs_and_lease_roles(cluster)
        await guide.typed(by_heading[guide.SWITCH], shell)
        draining = await verbs_and_lease_roles(cluster)
        removal = f"helm uninstall queue-processor --namespace {chart.NAMESPACE}"
        await guide.typed(f"{removal}\nkubectl delete --filename deploy/namespace.yaml", shell)

    assert observing == ({"list", "watch"}, 0)
    assert draining == ({"create", "delete", "get", "list", "patch", "watch"}, 1)


# The short path.


@pytest.fixture
async def spot_cluster(
    control_plane: plane.ControlPlane, shell: Mapping[str, str]
) -> AsyncIterator[world.World]:
    """A cluster without the operator, where some nodes are Spot instances."""
    async with world.opened(control_plane) as opened:
        for number, (name, labels) in enumerate(LABELS.items()):
            instances = [(name, f"i-{number:017x}")]
            await opened.make_nodes(instances, **{"kubernetes.io/os": "linux", **labels})
        yield opened
        # While there are nodes whose kubelets end its pods.
        removal = f"helm uninstall queue-processor --namespace {SYSTEM} --ignore-not-found"
        await guide.typed(removal, shell)
        await opened.clear([SYSTEM, "default"])


async def settings_in(cluster: world.World) -> dict[str, object]:
    """The settings of the operator of the short path."""
    found = await cluster.get(f"/api/v1/namespaces/{SYSTEM}/configmaps/queue-processor")
    assert found is not None
    settings: dict[str, object] = yaml.safe_load(found["data"]["settings.yaml"])
    return settings


async def test_the_short_path_leads_to_a_watcher_on_each_spot_node(
    spot_cluster: world.World, control_plane: plane.ControlPlane, shell: dict[str, str]
) -> None:
    path = {guide.IMAGE, guide.SHORT}
    text = "".join(command for heading, command in guide.blocks() if heading in path)
    async with described(control_plane):
        said = await guide.typed(text, shell)

    listed = said.rpartition("NOMINATED NODE")[2].splitlines()[1:]
    assert {line.split()[6] for line in listed} == SPOT
    assert {line.split()[2] for line in listed} == {"Running"}
    pods = await spot_cluster.items(f"/api/v1/namespaces/{SYSTEM}/pods", labelSelector=WATCHERS)
    assert {pod["spec"]["nodeName"] for pod in pods} == SPOT
    assert "serviceAccount.roleArn is empty" not in said
    settings = await settings_in(spot_cluster)
    assert settings["sources"] == {"notices": {"enabled": True}}
    assert "queue_url" not in settings


async def test_the_queue_is_added_to_what_the_short_path_made(
    spot_cluster: world.World, control_plane: plane.ControlPlane, shell: dict[str, str]
) -> None:
    blocks = guide.blocks()
    stack = blocks[: [heading for heading, _ in blocks].index(guide.OPERATOR)]
    without = {"With IAM roles for service accounts (IRSA)", guide.HOOKS, guide.LATER}
    text = "".join(command for heading, command in stack if heading not in without)
    text += dict(blocks)[guide.LATER]
    async with described(control_plane):
        await guide.typed(text, shell)

    settings = await settings_in(spot_cluster)
    assert settings["sources"] == {"notices": {"enabled": True}}
    assert "/queue-processor-Queue-" in str(settings["queue_url"])
    pods = await spot_cluster.items(f"/api/v1/namespaces/{SYSTEM}/pods", labelSelector=WATCHERS)
    assert {pod["spec"]["nodeName"] for pod in pods} == SPOT


async def test_a_namespace_that_denies_the_network_of_the_node_is_refused_by_name(
    spot_cluster: world.World, control_plane: plane.ControlPlane, shell: dict[str, str]
) -> None:
    del spot_cluster  # a cluster with nodes
    namespace = f"--namespace {chart.NAMESPACE}"
    command = f"helm upgrade --install queue-processor deploy/helm/queue-processor {namespace}"
    values = "--set image.repository=registry.example/queue-processor --set watcher.enabled=true"
    made = await guide.typed("kubectl apply --filename deploy/namespace.yaml", shell)
    assert chart.NAMESPACE in made

    with pytest.raises(AssertionError, match=r'level "restricted", which does not allow it: insta'):
        await guide.typed(f"{command} {values}", shell)
    await guide.typed(f"{command} {values} --set watcher.hostNetwork=false --wait", shell)

    listed = await asyncio.to_thread(
        control_plane.kubectl,
        *("get", "pods", f"--selector={WATCHERS}", f"--namespace={chart.NAMESPACE}"),
        "--output=jsonpath={.items[*].spec.nodeName}",
    )
    assert set(listed.split()) == SPOT
    await guide.typed(f"helm uninstall queue-processor {namespace}", shell)
    await guide.typed("kubectl delete --filename deploy/namespace.yaml", shell)
