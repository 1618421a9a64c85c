"""The connection to the API server: in the cluster, else by KUBECONFIG."""

import asyncio
import contextlib
import contextvars
import logging
import os
import pathlib
from collections.abc import Awaitable, Callable, Iterator

import structlog
import yaml
from kubernetes.aio import client, config
from kubernetes.aio.config import kube_config

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
#: The context of the kubeconfig that a person names; None: the current one, or that of the pod.
context: contextvars.ContextVar[str | None] = contextvars.ContextVar("context", default=None)

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

    @property
    def name(self) -> str:
        """The cluster for people: its server, and where the configuration comes from."""
        return f"{self.configuration.host} ({self.origin})"

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

    With a context that somebody names it is that of the kubeconfig, also in a pod.

    https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/

    Raises:
        ConfigurationError: There is neither, or the file cannot be understood.
    """
    named = context.get()
    try:
        if named is not None:
            return await _connect_by_file(named)
        return await _connect_from_pod() or await _connect_by_file()
    except _UNUSABLE as cause:
        if named is not None:
            raise errors.ConfigurationError(
                f"no Kubernetes cluster: the context {named} of the kubeconfig cannot be used:"
                f" {_in_one_line(cause)}",
                cure="choose another: `kubectl config get-contexts` lists all",
            ) from cause
        raise errors.ConfigurationError(
            "no Kubernetes cluster: neither in a pod with a service account, nor with a"
            f" kubeconfig that can be used: {_in_one_line(cause)}",
            cure="set KUBECONFIG, or correct the file that it names",
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


async def _connect_by_file(named: str | None = None) -> Connection:
    # The client reads the variable when it is imported, which is too early for an option.
    file = os.environ.get("KUBECONFIG") or None

    async def load(configuration: client.Configuration) -> None:
        with _logged_problems_raised():
            await config.load_kube_config(
                file, context=named, client_configuration=configuration, persist_config=False
            )

    async def reload(configuration: client.Configuration) -> None:
        """Read the token again: from the file, the file that it names, or its credential plugin."""
        loaded = client.Configuration()
        await load(loaded)
        configuration.api_key = loaded.api_key

    configuration = client.Configuration()
    await load(configuration)
    _, active = config.list_kube_config_contexts(file)
    return Connection(configuration, origin=f"context {named or active['name']}", reload=reload)


class _LoggedProblems(logging.Filter):
    """Keeps warnings and errors out of the log, and their texts."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        is_problem = record.levelno >= logging.WARNING
        if is_problem:
            self.texts.append(record.getMessage())
        return not is_problem


@contextlib.contextmanager
def _logged_problems_raised() -> Iterator[None]:
    """Raise what the official client only logs.

    That is that the file does not exist, or that a credential plugin has failed: without its token,
    every request would be answered with 401.
    """
    logger, logged = logging.getLogger(kube_config.__name__), _LoggedProblems()
    logger.addFilter(logged)
    try:
        yield
    except config.ConfigException as error:
        raise config.ConfigException("; ".join((*logged.texts, str(error)))) from error
    finally:
        logger.removeFilter(logged)
    if logged.texts:
        raise config.ConfigException("; ".join(logged.texts))


def _in_one_line(cause: Exception) -> str:
    """Return the text of a cause; that of a YAML error has several lines."""
    return " ".join(str(cause).split()) or type(cause).__name__


def own_namespace() -> str | None:
    """Return the namespace of the pod that this process runs in; None outside of a cluster."""
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
