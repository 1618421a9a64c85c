"""`queue-processor doctor`: is the installation right?"""

import asyncio
import collections
import datetime as dt
import enum
import sys
from typing import Annotated

import structlog
import typer

from queue_processor.cli import exits
from queue_processor.doctor import checks
from queue_processor.doctor.findings import CheckName, CheckStatus, Finding
from queue_processor.messages import options, output
from queue_processor.messages.options import OutputFormat


class DoctorOutput(enum.StrEnum):
    """Output formats of `doctor`."""

    TABLE = "table"
    JSON = "json"


def doctor(
    config: options.Config = None,
    output_format: Annotated[
        DoctorOutput,
        typer.Option("--output", "-o", help="table: for people. json: for programs, on stdout."),
    ] = DoctorOutput.TABLE,
) -> None:
    """Check the installation: settings, credentials, queue, rules, hooks, cluster, permissions.

    Each check is a line with its result; of what is wrong, with the cause and the cure. The command
    only reads. What you are not allowed to read is skipped, and the line names the permission. It
    takes the settings of `run`, and works on your machine and in the pod, whose permissions it
    checks there.

    Exit code 0: nothing has failed, though there may be warnings; 3: something has.

    \b
    Examples:
      queue-processor doctor
      queue-processor doctor --config settings.yaml --output json | jq '.[] | select(.cure != "")'
      kubectl exec --namespace queue-processor deployment/queue-processor -- queue-processor doctor
    """  # noqa: D301 - after a real backspace the lines stay as they are
    # Stdout is for the result; what adapters log is rarely more than what the checks report.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    findings = asyncio.run(checks.examine(config, clock=lambda: dt.datetime.now(dt.UTC)))
    if output_format is DoctorOutput.JSON:
        output.print_data([_fields(*item) for item in findings.items()], OutputFormat.JSON)
    else:
        output.print_table(("result", "check"), (_cells(*item) for item in findings.items()))
    counts = collections.Counter(finding.status for finding in findings.values())
    output.note(", ".join(f"{status}: {counts[status]}" for status in reversed(CheckStatus)))
    if counts[CheckStatus.FAILED]:
        raise typer.Exit(exits.NOT_RIGHT)


def _fields(name: CheckName, finding: Finding) -> dict[str, str]:
    return {
        "check": name.value,
        "status": finding.status.value,
        "detail": finding.detail,
        "cure": finding.cure,
    }


def _cells(name: CheckName, finding: Finding) -> tuple[str, str]:
    cure = f". Cure: {finding.cure}" if finding.cure else ""
    return finding.status.value, f"{name}: {finding.detail}{cure}"
