"""The connection to the API server: in the cluster, else by KUBECONFIG."""

import pathlib
from collections.abc import Awaitable, Callable

import yaml
from kubernetes.aio import client, config

from queue_processor.adapters.kube.transport import HttpTransport
from queue_processor.domain import errors

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
    """

    def __init__(
        self,
        configuration: client.Configuration,
        *,
        refresh: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.configuration = configuration
        self.transport = HttpTransport(configuration)
        self._refresh = refresh

    async def keep_token_fresh(self) -> None:
        """Renew the token that a credential plugin gave us, for as long as that is needed."""
        if self._refresh is not None:
            await self._refresh()

    async def close(self) -> None:
        """Close all connections."""
        await self.transport.close()


async def connect() -> Connection:
    """Find the API server: the pod's own account, else KUBECONFIG, else ~/.kube/config.

    https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/

    Raises:
        ConfigurationError: There is neither, or the file cannot be understood.
    """
    try:
        return _connect_from_pod() or await _connect_by_file()
    except _UNUSABLE as cause:
        raise errors.ConfigurationError(
            "no Kubernetes cluster: neither in a pod with a service account, nor with a"
            f" kubeconfig that can be used (set KUBECONFIG): {_in_one_line(cause)}"
        ) from cause


def _connect_from_pod() -> Connection | None:
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        return None
    return Connection(configuration)


async def _connect_by_file() -> Connection:
    configuration = client.Configuration()
    loader = await config.load_kube_config(client_configuration=configuration, persist_config=False)
    if "BearerToken" not in configuration.api_key:
        return Connection(configuration)

    async def refresh() -> None:
        await config.refresh_token(loader, client_configuration=configuration)

    return Connection(configuration, refresh=refresh)


def _in_one_line(cause: Exception) -> str:
    """Return the text of a cause; that of a YAML error has several lines."""
    return " ".join(str(cause).split()) or type(cause).__name__


def own_namespace() -> str | None:
    """Return the namespace of the pod that this process runs in; None outside of a cluster."""
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
