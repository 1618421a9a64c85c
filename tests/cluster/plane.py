"""A real control plane on 127.0.0.1: etcd, API server, controllers, scheduler, fake kubelets."""

import contextlib
import ctypes
import dataclasses
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

_HERE = pathlib.Path(__file__).parent
_MEMORY = pathlib.Path("/dev/shm")  # noqa: S108 - a RAM disk, where there is one
_READY_SECONDS = 60.0
_ISSUER = "https://kubernetes.default.svc"
#: The user name of the fake kubelets, who end pods.
KUBELETS = "kubelets"
_PR_SET_PDEATHSIG = 1

# Those that have a part in draining nodes; each that is left out is memory and requests saved.
_CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "statefulset-controller",
    "taint-eviction-controller",
)


class ComponentFailed(Exception):
    """A component of the control plane did not start; the message ends with what it logged."""


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """The access of a client to the API server: its address, its CA, and the client's identity."""

    server: str
    ca_file: pathlib.Path
    token: str

    def write_kubeconfig(self, path: pathlib.Path) -> pathlib.Path:
        """Write it as clients expect it; JSON is YAML."""
        named = {"name": "test"}
        cluster = {"server": self.server, "certificate-authority": str(self.ca_file)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{**named, "cluster": cluster}],
            "users": [{**named, "user": {"token": self.token}}],
            "contexts": [{**named, "context": {"cluster": "test", "user": "test"}}],
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config), encoding="utf-8")
        return path


class ControlPlane:
    """The processes of a control plane, their ports, their files and their logs."""

    def __init__(self, assets: pathlib.Path) -> None:
        """Prepare the files; `start` starts the processes.

        Args:
            assets: The folder with the programs (tests.cluster.assets).
        """
        parent = _MEMORY if os.access(_MEMORY, os.W_OK) else None
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="controlplane-", dir=parent))
        self.folder.chmod(0o700)
        self._assets = assets
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._etcd, self._etcd_peers, self._port = free_ports(3)
        self._admin_token, self._kubelets_token = secrets.token_urlsafe(), secrets.token_urlsafe()
        self._write_files()
        self._commands = {
            "etcd": self._etcd_flags(),
            "kube-apiserver": self._apiserver_flags(),
            "kube-controller-manager": self._controller_manager_flags(),
            "kube-scheduler": self._scheduler_flags(),
            "kwok": self._kwok_flags(),
        }

    @property
    def admin(self) -> Access:
        """Access as a cluster administrator, whom no rule limits."""
        return self.access(self._admin_token)

    @property
    def audit_log(self) -> pathlib.Path:
        """The requests of service accounts and the ends of pods, a JSON object a line."""
        return self.folder / "audit.log"

    def access(self, token: str) -> Access:
        """Access with this token."""
        return Access(
            server=f"https://127.0.0.1:{self._port}",
            ca_file=self.folder / "certificates" / "apiserver.crt",
            token=token,
        )

    def start(self) -> None:
        """Start all processes and return when the API server is ready.

        Raises:
            ComponentFailed: One of them ended, or did not get ready in time.
        """
        self.launch("etcd")
        self._begin_history()
        self.launch("kube-apiserver")
        self.await_ready()
        for component in ("kube-controller-manager", "kube-scheduler", "kwok"):
            self.launch(component)

    def launch(self, component: str) -> None:
        """Start one process, with the flags as ever; it ends with the thread that calls this."""
        log = (self.folder / f"{component}.log").open("ab")
        with log:
            self._processes[component] = subprocess.Popen(  # noqa: S603 - flags of our own
                [str(self._assets / component), *self._commands[component]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - one system call, no lock
            )

    @property
    def components(self) -> Sequence[str]:
        """The processes that run now."""
        return tuple(self._processes)

    def pid(self, component: str) -> int:
        """The process id of a component."""
        return self._processes[component].pid

    def kill(self, component: str) -> None:
        """Take a process away without a word."""
        process = self._processes.pop(component)
        process.kill()
        process.wait()

    @contextlib.contextmanager
    def paused(self, component: str) -> Iterator[None]:
        """Let a process hang for a while: its connections stay open and nothing answers."""
        process = self._processes[component]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def forget(self, version: int) -> None:
        """Let etcd forget how things were before a resourceVersion.

        https://etcd.io/docs/latest/dev-guide/api_grpc_gateway/
        """
        self._ask_etcd("kv/compaction", {"revision": str(version)})

    def close(self) -> None:
        """Take everything away; nothing of it is needed any more."""
        for component in reversed(list(self._processes)):
            self.kill(component)
        shutil.rmtree(self.folder)

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Run kubectl as the administrator; what it prints.

        Raises:
            CalledProcessError: It failed; `stderr` says why.
        """
        return subprocess.run(  # noqa: S603 - our own arguments
            [str(self._assets / "kubectl"), f"--kubeconfig={self._kubeconfig}", *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            env={"HOME": str(self.folder)},
        ).stdout

    # Files.

    def _write_files(self) -> None:
        key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
        self._signing_key = self.folder / "service-accounts.key"
        self._signing_key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        self._tokens = self.folder / "tokens.csv"
        users = {"admin": self._admin_token, KUBELETS: self._kubelets_token}
        self._tokens.write_text(
            "".join(f'{token},{user},{user},"system:masters"\n' for user, token in users.items())
        )
        self._kubeconfig = self.admin.write_kubeconfig(self.folder / "admin.kubeconfig")
        self._kubelets_kubeconfig = self.access(self._kubelets_token).write_kubeconfig(
            self.folder / "kubelets.kubeconfig"
        )

    # Flags.

    def _etcd_flags(self) -> Sequence[str]:
        client = f"http://127.0.0.1:{self._etcd}"
        peer = f"http://127.0.0.1:{self._etcd_peers}"
        return (
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=error",
        )

    def _apiserver_flags(self) -> Sequence[str]:
        return (
            f"--etcd-servers=http://127.0.0.1:{self._etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--cert-dir={self.folder / 'certificates'}",
            # An address of the loopback network is no endpoint of the Service `kubernetes`.
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=Node,RBAC",
            f"--token-auth-file={self._tokens}",
            f"--service-account-issuer={_ISSUER}",
            f"--service-account-key-file={self._signing_key}",
            f"--service-account-signing-key-file={self._signing_key}",
            f"--audit-policy-file={_HERE / 'audit-policy.yaml'}",
            f"--audit-log-path={self.audit_log}",
            "--allow-privileged",
            "--v=1",
        )

    def _controller_manager_flags(self) -> Sequence[str]:
        return (
            f"--kubeconfig={self._kubeconfig}",
            f"--controllers={','.join(_CONTROLLERS)}",
            # Each with a service account of its own: only that of node-lifecycle may take the
            # taints of a node that is not ready away.
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self._signing_key}",
            f"--root-ca-file={self.admin.ca_file}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            # kwok.yaml lets nodes write their Leases every five minutes: whoever does not wait for
            # longer takes them for dead in between, again and again.
            "--node-monitor-grace-period=20m",
        )

    def _scheduler_flags(self) -> Sequence[str]:
        return (
            f"--kubeconfig={self._kubeconfig}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        )

    def _kwok_flags(self) -> Sequence[str]:
        return (f"--kubeconfig={self._kubelets_kubeconfig}", f"--config={_HERE / 'kwok.yaml'}")

    # Etcd.

    def _begin_history(self) -> None:
        """Let something have happened before the API server's first look.

        Else a watch could go back to the first version of all, and none would be too old.
        """
        ends_at = time.monotonic() + _READY_SECONDS
        while time.monotonic() < ends_at:
            with contextlib.suppress(OSError):
                self._ask_etcd("kv/put", {"key": "aGlzdG9yeQ==", "value": ""})
                return
            time.sleep(0.02)
        raise ComponentFailed(f"etcd does not answer:\n{self._end_of_log('etcd')}")

    def _ask_etcd(self, call: str, body: Mapping[str, str]) -> None:
        """Call etcd over its gateway for JSON; keys and values are in base64."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._etcd}/v3/{call}", data=json.dumps(body).encode()
        )
        urllib.request.urlopen(request, timeout=5.0).close()  # noqa: S310 - http, to ourselves

    # Readiness.

    def await_ready(self) -> None:
        """Return when the API server is ready.

        Raises:
            ComponentFailed: A process ended, or it took too long.
        """
        ends_at = time.monotonic() + _READY_SECONDS
        while not self._is_ready():
            for component, process in self._processes.items():
                if process.poll() is not None or time.monotonic() > ends_at:
                    raise ComponentFailed(
                        f"{component} (exit code {process.poll()}):\n{self._end_of_log(component)}"
                    )
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        ca_file = self.admin.ca_file
        if not ca_file.exists():
            return False
        request = urllib.request.Request(  # noqa: S310 - https, to ourselves
            f"{self.admin.server}/readyz", headers={"Authorization": f"Bearer {self._admin_token}"}
        )
        try:
            context = ssl.create_default_context(cafile=str(ca_file))
            with urllib.request.urlopen(request, timeout=2.0, context=context) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (OSError, ssl.SSLError, urllib.error.HTTPError):
            return False

    def _end_of_log(self, component: str) -> str:
        lines = (self.folder / f"{component}.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-15:])


@dataclasses.dataclass(frozen=True, slots=True)
class Started:
    """A control plane that runs pods.

    Attributes:
        seconds: The time from nothing to a pod that ran.
    """

    plane: ControlPlane
    seconds: float


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; held together, so that they differ."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _end_with_parent() -> None:
    """Have the kernel end this process with the one that started it, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
