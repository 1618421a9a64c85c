"""Translates botocore's errors into those of domain/errors.py, the cause chained.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
"""

import contextlib
import http
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import botocore.exceptions
import botocore.parsers

from queue_processor.domain import errors

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import BatchResultErrorEntryTypeDef

Results: TypeAlias = Sequence[Exception | None]
"""The error of each entry of a batch; None for those that are done."""

_THROTTLED = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "RequestThrottled",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "ServiceUnavailable",
        "InternalFailure",
        "InternalError",
        "RequestTimeout",
        "ResourceContention",
        # A token that has run out is renewed by the SDK before the next attempt.
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
    }
)
_REFUSED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        # An answer that names no code has its status for one.
        str(http.HTTPStatus.FORBIDDEN.value),
    }
)
_NO_SUCH_QUEUE = frozenset({"NonExistentQueue", "QueueDoesNotExist"})
_STALE_RECEIPT = frozenset(
    {
        "ReceiptHandleIsInvalid",
        "MessageNotInflight",
        "InvalidParameterValue",
        "InvalidParameterValueException",
    }
)


@contextlib.contextmanager
def translated(call: str) -> Iterator[None]:
    """Translate what one call raises."""
    try:
        yield
    except botocore.exceptions.ClientError as cause:
        raise _of_client_error(cause, call) from cause
    except botocore.exceptions.ParamValidationError as cause:
        # The SDK refuses to send it: for example a malformed token.
        raise errors.PermanentError(f"{call}: {cause}") from cause
    except (
        botocore.exceptions.BotoCoreError,
        # It is none of botocore's own.
        botocore.parsers.ResponseParserError,
        LookupError,
        ValueError,
    ) as cause:
        # Connections, timeouts, credentials that cannot be fetched just now, and answers
        # that are none: all of them can be different in a moment.
        raise errors.TemporaryError(f"{call}: {cause}") from cause


@contextlib.contextmanager
def needs_permission(action: str, subject: str) -> Iterator[None]:
    """Translate what one call raises, and name the permission that it lacks.

    Args:
        action: The IAM action, such as `sqs:SendMessage`.
        subject: What the action is on, for people.

    Raises:
        UsageError: There is no such queue.
        Forbidden: The permission is missing; the text names it.
        PermanentError: The call is refused for another reason.
        TemporaryError: The call failed, and may succeed later.
    """
    try:
        with translated(action):
            yield
    except errors.PermanentError as error:
        cause = error.__cause__
        code = _code_of(cause) if isinstance(cause, botocore.exceptions.ClientError) else ""
        if code in _REFUSED:
            raise errors.Forbidden(
                f"the permission {action} on {subject} is missing: {' '.join(str(error).split())}"
            ) from error
        if code in _NO_SUCH_QUEUE:
            raise errors.UsageError(
                f"there is no queue {subject} in this account and Region; check the name,"
                " AWS_REGION and AWS_PROFILE"
            ) from error
        raise


def of_batch(
    call: str,
    size: int,
    *,
    done: Iterable[str],
    failed: Iterable["BatchResultErrorEntryTypeDef"],
) -> Results:
    """Return the result of each entry of a batch whose ids are their numbers.

    An answer that is cut off reaches us as an empty one. So an entry is done only if the answer
    calls it done.

    Returns:
        One item for each entry: None, or StaleReceiptHandle, PermanentError, TemporaryError.
    """
    results: list[Exception | None] = [
        errors.TemporaryError(f"{call}: no answer about entry {number}") for number in range(size)
    ]
    for number in done:
        results[int(number)] = None
    for entry in failed:
        code = entry.get("Code", "").rpartition(".")[2]
        text = f"{call}: {code}: {entry.get('Message', '')}"
        error: Exception
        if code in _STALE_RECEIPT:
            error = errors.StaleReceiptHandle(text)
        elif entry.get("SenderFault") and code not in _THROTTLED:
            error = errors.PermanentError(text)
        else:
            error = errors.TemporaryError(text)
        results[int(entry["Id"])] = error
    return results


def _of_client_error(
    cause: botocore.exceptions.ClientError, call: str
) -> errors.QueueProcessorError:
    code = _code_of(cause)
    message = cause.response.get("Error", {}).get("Message", "")
    status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    text = f"{call}: {code}: {message}"
    if code == "ValidationError":
        # Only Auto Scaling says this: the action is over, or its group or hook is gone.
        return errors.NotFound(text)
    if code in _THROTTLED or status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        return errors.TemporaryError(text)
    return errors.PermanentError(text)


def _code_of(cause: botocore.exceptions.ClientError) -> str:
    return cause.response.get("Error", {}).get("Code", "").rpartition(".")[2]
