"""The names of the checks, and the values that they return."""

import dataclasses
import enum
from collections.abc import Sequence

# Cures name it.
TEMPLATE = "infra/cloudformation/queue-processor.yaml"


class CheckName(enum.StrEnum):
    """The checks, in the order in which they are printed."""

    SETTINGS = "settings"
    WEBHOOKS = "webhooks"
    AWS_CREDENTIALS = "aws-credentials"
    AWS_ACCOUNT = "aws-account"
    AWS_REGION = "aws-region"
    QUEUE = "queue"
    DEAD_LETTER_QUEUE = "dead-letter-queue"
    MAX_RECEIVE_COUNT = "max-receive-count"
    RETENTION = "retention"
    ENCRYPTION = "encryption"
    QUEUE_POLICY = "queue-policy"
    EVENT_RULES = "event-rules"
    EVENT_PATTERNS = "event-patterns"
    LIFECYCLE_HOOKS = "lifecycle-hooks"
    API_SERVER = "api-server"
    PERMISSIONS = "permissions"
    NODES = "nodes"
    CONSUMERS = "consumers"
    OTHER_HANDLERS = "other-handlers"
    CLOCK = "clock"


class CheckStatus(enum.StrEnum):
    """The results of checks; a later one is worse."""

    SKIPPED = "skipped"
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


_SEVERITY = tuple(CheckStatus)


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check, and the reason for it.

    Attributes:
        detail: What is right, the cause of what is wrong, or why the check was skipped; one line.
        cure: What to do about it; one line, empty if there is nothing to do.
    """

    status: CheckStatus
    detail: str
    cure: str = ""


def ok(detail: str) -> Finding:
    """Return a finding of a check that has nothing to object to."""
    return Finding(CheckStatus.OK, detail)


def skipped(reason: str) -> Finding:
    """Return a finding of a check that could not be made, or does not apply."""
    return Finding(CheckStatus.SKIPPED, _in_one_line(reason))


def warning(cause: str, cure: str) -> Finding:
    """Return a finding that may be on purpose."""
    return Finding(CheckStatus.WARNING, _in_one_line(cause), cure)


def failed(cause: str, cure: str) -> Finding:
    """Return a finding that is wrong."""
    return Finding(CheckStatus.FAILED, _in_one_line(cause), cure)


def merged(several: Sequence[Finding], *, otherwise: Finding) -> Finding:
    """Return one finding for all problems of a check: it is as bad as the worst."""
    if not several:
        return otherwise
    return Finding(
        max((each.status for each in several), key=_SEVERITY.index),
        "; ".join(each.detail for each in several),
        "; ".join(dict.fromkeys(each.cure for each in several)),
    )


def _in_one_line(text: str) -> str:
    return "; ".join(" ".join(line.split()) for line in text.splitlines())
