"""Opens the way to the cluster for tools: every failure becomes one line about cause and cure."""

import contextlib
from collections.abc import AsyncIterator, Iterator

from queue_processor.adapters.kube import connection
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.domain import errors


@contextlib.asynccontextmanager
async def open_api(*, hint: str = "") -> AsyncIterator[KubeApi]:
    """Connect to the cluster that the environment names.

    Args:
        hint: Added to each error: how to do without a cluster.

    Raises:
        ConfigurationError: There is no cluster, it cannot be reached, or it refuses a request.
    """
    with _translated(hint):
        opened = await connection.connect()
        try:
            yield KubeApi(opened.transport)
        finally:
            await opened.close()


async def describe_cluster() -> str:
    """Return which cluster the environment names, for people; nothing is sent there.

    Raises:
        ConfigurationError: There is none.
    """
    opened = await connection.connect()
    try:
        return f"{opened.configuration.host} ({opened.origin})"
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
            f"Kubernetes: {error}; check that KUBECONFIG names a cluster that can be reached, and"
            f" what you are allowed to do there{hint}"
        ) from error
