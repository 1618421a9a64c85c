"""Run all checks."""

import asyncio
import contextlib
import datetime as dt
import pathlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from queue_processor.doctor import aws_checks, cluster_checks, event_checks, findings, local_checks
from queue_processor.doctor.findings import CheckName, Finding
from queue_processor.doctor.installation import Installation
from queue_processor.doctor.shared_reads import NotApplicable, ReadFailed
from queue_processor.domain import errors

_Check: TypeAlias = Callable[[Installation], Awaitable[Finding]]

CHECKS: Mapping[CheckName, _Check] = {
    CheckName.SETTINGS: local_checks.settings,
    CheckName.WEBHOOKS: local_checks.webhooks,
    CheckName.AWS_CREDENTIALS: aws_checks.credentials,
    CheckName.AWS_ACCOUNT: aws_checks.account,
    CheckName.AWS_REGION: aws_checks.region,
    CheckName.QUEUE: aws_checks.queue,
    CheckName.DEAD_LETTER_QUEUE: aws_checks.dead_letter_queue,
    CheckName.MAX_RECEIVE_COUNT: aws_checks.max_receive_count,
    CheckName.RETENTION: aws_checks.retention,
    CheckName.ENCRYPTION: aws_checks.encryption,
    CheckName.QUEUE_POLICY: aws_checks.policy,
    CheckName.EVENT_RULES: event_checks.rules,
    CheckName.EVENT_PATTERNS: event_checks.patterns,
    CheckName.LIFECYCLE_HOOKS: event_checks.hooks,
    CheckName.API_SERVER: cluster_checks.api_server,
    CheckName.PERMISSIONS: cluster_checks.permissions,
    CheckName.NODES: cluster_checks.nodes,
    CheckName.CONSUMERS: cluster_checks.consumers,
    CheckName.OTHER_HANDLERS: cluster_checks.other_handlers,
    CheckName.CLOCK: local_checks.clock,
}


async def examine(
    config: pathlib.Path | None, *, clock: Callable[[], dt.datetime]
) -> Mapping[CheckName, Finding]:
    """Run all checks at once, and return their findings in the order of the names.

    Args:
        config: The settings file; None as in `settings.load`.
        clock: Our clock.
    """
    async with contextlib.AsyncExitStack() as stack:
        installation = Installation(config, clock=clock, stack=stack)
        results = await asyncio.gather(*(_run(name, installation) for name in CheckName))
        return dict(zip(CheckName, results, strict=True))


async def _run(name: CheckName, installation: Installation) -> Finding:
    try:
        return await CHECKS[name](installation)
    except ReadFailed as failure:
        if failure.reporter is not name:
            return findings.skipped(f"see {failure.reporter}")
        return _finding_of(failure.cause)
    except Exception as error:  # noqa: BLE001 - a check must not hide the findings of others
        return _finding_of(error)


def _finding_of(error: Exception) -> Finding:
    match error:
        case NotApplicable() | errors.Forbidden():
            return findings.skipped(str(error))
        case errors.SettingsError():
            return findings.failed(
                str(error), "correct them; `queue-processor config validate` checks the settings"
            )
        case errors.ConfigurationError():
            return findings.failed(error.cause, error.cure)
        case errors.QueueProcessorError():
            return findings.failed(str(error), "check endpoints and the network, and try again")
        case _:
            return findings.failed(
                f"unexpected: {error!r}", "report this line: it is a defect of queue-processor"
            )
