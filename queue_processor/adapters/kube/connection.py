"""The connection to the API server: in the cluster, else by KUBECONFIG."""

import asyncio
import pathlib
from collections.abc import Awaitable, Callable

import structlog
import yaml
from kubernetes.aio import client, config

from queue_processor.adapters.kube.transport import HttpTransport
from queue_processor.domain import errors

_log = structlog.get_logger(__name__)

# A plugin that makes tokens may take seconds, and all requests are refused together.
_RENEWAL_INTERVAL_SECONDS = 5.0

_UNUSABLE = (
    config.ConfigException,
    OSError,  # ssl.SSLError is one: a certificate that is none
    yaml.YAMLError,
    # What the official client makes of a file that is YAML, but no kubeconfig.
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
_NAMESPACE_FILE = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Connection:
    """The way to one cluster.

    Attributes:
        configuration: Server, trust and credentials, as the official client holds them.
        transport: Requests to the server.
        origin: Where the configuration comes from, for people.
    """

    def __init__(
        self,
        configuration: client.Configuration,
        *,
        origin: str,
        reload: Callable[[client.Configuration], Awaitable[None]] | None = None,
    ) -> None:
        """Open no connection yet.

        Args:
            configuration: Server, trust and credentials.
            origin: Where it comes from, for people.
            reload: Reads the credentials again, into a configuration.
        """
        self.configuration = configuration
        self.origin = origin
        self.transport = HttpTransport(configuration, renew_credentials=self._renew_credentials)
        self._reload = reload
        self._renewing = asyncio.Lock()
        self._next_renewal_at = 0.0

    async def close(self) -> None:
        """Close all connections."""
        await self.transport.close()

    async def _renew_credentials(self) -> None:
        """Read the credentials again, once for all requests that the server has refused."""
        loop = asyncio.get_running_loop()
        async with self._renewing:
            if self._reload is None or loop.time() < self._next_renewal_at:
                return
            self._next_renewal_at = loop.time() + _RENEWAL_INTERVAL_SECONDS
            try:
                await self._reload(self.configuration)
            except _UNUSABLE as error:
                _log.warning("credentials_not_renewed", error=_in_one_line(error))


async def connect() -> Connection:
    """Find the API server: the pod's own account, else KUBECONFIG, else ~/.kube/config.

    https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/

    Raises:
        ConfigurationError: There is neither, or the file cannot be understood.
    """
    try:
        return await _connect_from_pod() or await _connect_by_file()
    except _UNUSABLE as cause:
        raise errors.ConfigurationError(
            "no Kubernetes cluster: neither in a pod with a service account, nor with a"
            f" kubeconfig that can be used (set KUBECONFIG): {_in_one_line(cause)}"
        ) from cause


async def _connect_from_pod() -> Connection | None:
    configuration = client.Configuration()
    try:
        await _load_from_pod(configuration)
    except config.ConfigException:
        return None
    return Connection(configuration, origin="the service account of the pod", reload=_load_from_pod)


async def _load_from_pod(configuration: client.Configuration) -> None:
    config.load_incluster_config(client_configuration=configuration)


async def _connect_by_file() -> Connection:
    configuration = client.Configuration()
    await config.load_kube_config(client_configuration=configuration, persist_config=False)
    _, active = config.list_kube_config_contexts()
    return Connection(configuration, origin=f"context {active['name']}", reload=_reload_by_file)


async def _reload_by_file(configuration: client.Configuration) -> None:
    """Read the token again: from the file, the file that it names, or its credential plugin."""
    loaded = client.Configuration()
    await config.load_kube_config(client_configuration=loaded, persist_config=False)
    configuration.api_key = loaded.api_key


def _in_one_line(cause: Exception) -> str:
    """Return the text of a cause; that of a YAML error has several lines."""
    return " ".join(str(cause).split()) or type(cause).__name__


def own_namespace() -> str | None:
    """Return the namespace of the pod that this process runs in; None outside of a cluster."""
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
