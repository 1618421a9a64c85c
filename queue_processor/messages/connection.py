"""Opens the way to the cluster for tools: every failure becomes one line about cause and cure."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator

from queue_processor.adapters.kube import connection
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.domain import errors


@dataclasses.dataclass(frozen=True, slots=True)
class OpenCluster:
    """A cluster that commands read and write.

    Attributes:
        name: Its server and the context that names it, for people.
    """

    api: KubeApi
    name: str


@contextlib.asynccontextmanager
async def open_cluster(*, hint: str = "") -> AsyncIterator[OpenCluster]:
    """Connect to the cluster that the environment names.

    Args:
        hint: Added to each error: how to do without a cluster.

    Raises:
        ConfigurationError: There is no cluster, it cannot be reached, or it refuses a request.
    """
    with _translated(hint):
        opened = await connection.connect()
        try:
            yield OpenCluster(KubeApi(opened.transport), opened.name)
        finally:
            await opened.close()


@contextlib.contextmanager
def _translated(hint: str) -> Iterator[None]:
    try:
        yield
    except errors.ConfigurationError as error:
        raise errors.ConfigurationError(f"{error}{hint}") from error
    except (
        errors.TemporaryError,
        errors.PermanentError,
        errors.NotFound,
        errors.WatchExpired,
    ) as error:
        raise errors.ConfigurationError(
            f"Kubernetes: {error}",
            cure="check that KUBECONFIG names a cluster that can be reached, and what you are"
            f" allowed to do there{hint}",
        ) from error
