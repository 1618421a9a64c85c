"""What a refused call of a person's command lacks: the permission, and on what."""

import contextlib
import http
from collections.abc import Iterator

import botocore.exceptions

from queue_processor.adapters.aws import faults
from queue_processor.domain import errors

_REFUSED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        # An answer that names no code has its status for one.
        str(http.HTTPStatus.FORBIDDEN.value),
    }
)
_NO_SUCH_QUEUE = frozenset({"NonExistentQueue", "QueueDoesNotExist"})


@contextlib.contextmanager
def asked(action: str, subject: str) -> Iterator[None]:
    """Make one call that needs a permission, and say what is wrong when it fails.

    Args:
        action: The IAM action, such as `sqs:SendMessage`.
        subject: What the action is on, for people.

    Raises:
        UsageError: There is no such queue.
        PermanentError: The call is refused; for want of a permission the text names it.
        TemporaryError: The call failed, and may succeed later.
    """
    try:
        with faults.translated(action):
            yield
    except errors.PermanentError as error:
        code = _code_of(error.__cause__)
        if code in _REFUSED:
            raise errors.PermanentError(
                f"the permission {action} on {subject} is missing: {' '.join(str(error).split())}"
            ) from error
        if code in _NO_SUCH_QUEUE:
            raise errors.UsageError(
                f"there is no queue {subject} in this account and Region; check the name,"
                " AWS_REGION and AWS_PROFILE"
            ) from error
        raise


def _code_of(cause: BaseException | None) -> str:
    if not isinstance(cause, botocore.exceptions.ClientError):
        return ""
    return cause.response.get("Error", {}).get("Code", "").rpartition(".")[2]
