"""The overlays of deploy/kustomize, filled in as their users do, on a real API server."""

import copy
import pathlib
import shutil
import subprocess

import pytest
import yaml

from queue_processor.domain import errors
from tests.cluster import objects
from tests.cluster.conftest import MANIFEST
from tests.cluster.manifests import JsonObject
from tests.cluster.plane import ControlPlane
from tests.cluster.world import OPERATOR, World

OVERLAYS_FOLDER = MANIFEST.parents[1]
NAMESPACE, NAME = OPERATOR
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
ROLE = "arn:aws:iam::123456789012:role/queue-processor"
URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/queue"
FILLED_IN = {
    "REPLACE-WITH-THE-ARN-OF-THE-ROLE": ROLE,
    "REPLACE-WITH-YOUR-REGISTRY": "registry.example",
    "REPLACE-WITH-THE-URL-OF-YOUR-QUEUE": URL,
}
# The files of each overlay that have something to fill in, and what is in all of them together.
OVERLAYS = {"irsa": 3, "observe": 3, "pod-identity": 2, "watcher": 1}


def filled_in(overlay: str, folder: pathlib.Path) -> pathlib.Path:
    """Copy the overlays, fill in one of them, and return its folder."""
    own = shutil.copytree(OVERLAYS_FOLDER, folder / "overlays") / overlay
    count = 0
    for name in ("kustomization.yaml", "settings.yaml"):
        path = own / name
        if not path.exists():
            continue
        text = path.read_text(encoding="utf-8")
        for placeholder, value in FILLED_IN.items():
            count += text.count(placeholder)
            text = text.replace(placeholder, value)
        path.write_text(text, encoding="utf-8")
    assert count == OVERLAYS[overlay]
    return own


@pytest.fixture(scope="module")
def manifest(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The objects of the overlay for IRSA, filled in."""
    own = filled_in("irsa", tmp_path_factory.mktemp("irsa"))
    return control_plane.kubectl("kustomize", str(own))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_has_nothing_left_to_fill_in(
    control_plane: ControlPlane, overlay: str, tmp_path: pathlib.Path
) -> None:
    made = control_plane.kubectl("kustomize", str(filled_in(overlay, tmp_path)))

    assert "REPLACE-" not in made
    assert "image: registry.example/queue-processor:" in made
    assert (ROLE in made) is (overlay in {"irsa", "observe"})
    assert ("mode: observe" in made) is (overlay == "observe")
    assert (URL in made) is (overlay != "watcher")
    assert ("kind: DaemonSet" in made) is (overlay == "watcher")


def apply(cluster: World, text: str) -> list[str]:
    """Apply as users do; a line for each object."""
    # The fixture has applied the account already, as it stands in the file.
    strictly = ("--server-side", "--validate=strict", "--force-conflicts")
    return cluster.plane.kubectl("apply", *strictly, "-f", "-", text=text).splitlines()


async def test_it_applies_and_its_pod_runs_under_the_restricted_standard(
    cluster: World, manifest: str
) -> None:
    await cluster.make_nodes([("node-a", "i-0a")], **{"kubernetes.io/os": "linux"})
    applied = apply(cluster, manifest)

    async def available() -> bool:
        found = await cluster.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAME}")
        return found is not None and found["status"].get("availableReplicas") == 1

    await cluster.until(available)

    assert len(applied) == len(list(yaml.safe_load_all(manifest)))
    namespace = await cluster.get(f"/api/v1/namespaces/{NAMESPACE}")
    assert namespace is not None
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    (pod,) = await cluster.items(PODS)
    assert objects.is_true(pod, "Ready")
    assert pod["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet"
    assert pod["spec"]["serviceAccountName"] == NAME
    account = await cluster.get(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{NAME}")
    assert account is not None
    assert "eks.amazonaws.com/role-arn" in account["metadata"]["annotations"]


async def test_applying_it_again_changes_nothing(cluster: World, manifest: str) -> None:
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAME}"
    apply(cluster, manifest)
    before = await cluster.get(path)
    apply(cluster, manifest)
    after = await cluster.get(path)

    assert before is not None
    assert after is not None
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


async def test_a_field_that_the_api_does_not_know_is_refused(cluster: World, manifest: str) -> None:
    misspelt = manifest.replace("readOnlyRootFilesystem:", "readonlyRootFilesystem:")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        apply(cluster, misspelt)
    assert "readonlyRootFilesystem" in refused.value.stderr


# Policy.


@pytest.fixture
def pod(manifest: str) -> JsonObject:
    """A pod as the Deployment makes it."""
    (deployment,) = (
        document for document in yaml.safe_load_all(manifest) if document["kind"] == "Deployment"
    )
    template = copy.deepcopy(deployment["spec"]["template"])
    metadata = {**template["metadata"], "name": "tried", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


async def test_a_pod_of_the_deployment_is_admitted(cluster: World, pod: JsonObject) -> None:
    tried = await cluster.api.post(f"{PODS}?dryRun=All", pod)
    assert tried["metadata"]["name"] == "tried"


@pytest.mark.parametrize(
    ("whole", "own", "said"),
    [
        ({"securityContext": {"runAsNonRoot": False}}, {}, "runAsNonRoot != true"),
        ({"securityContext": {"seccompProfile": None}}, {}, "seccompProfile"),
        ({"hostNetwork": True}, {}, "host namespaces"),
        (
            {"volumes": [{"name": "settings", "hostPath": {"path": "/"}}]},
            {},
            "restricted volume types",
        ),
        ({}, {"securityContext": {"allowPrivilegeEscalation": True}}, "allowPrivilegeEscalation"),
        ({}, {"securityContext": {"capabilities": None}}, "unrestricted capabilities"),
    ],
)
async def test_a_weaker_pod_is_not_admitted(
    cluster: World, pod: JsonObject, whole: JsonObject, own: JsonObject, said: str
) -> None:
    for given, change in ((pod["spec"], whole), (pod["spec"]["containers"][0], own)):
        for key, value in change.items():
            given[key] = {**given[key], **value} if isinstance(value, dict) else value
    with pytest.raises(errors.PermanentError, match='violates PodSecurity "restricted') as refused:
        await cluster.api.post(f"{PODS}?dryRun=All", pod)
    assert said in str(refused.value)
