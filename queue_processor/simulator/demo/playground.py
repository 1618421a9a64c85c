"""The variables of a shell for the simulated cluster and AWS of a kept demo."""

import pathlib
import shlex
from collections.abc import Iterator, Mapping

# Variables of a shell that would lead the SDKs to another AWS, or that need a file of theirs.
_ELSEWHERE = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_SQS")


def write_script(folder: pathlib.Path, variables: Mapping[str, str]) -> pathlib.Path:
    """Write the lines that set the variables in a shell; return the path."""
    exports = (f"export {name}={shlex.quote(value)}" for name, value in variables.items())
    path = folder / "environment.sh"
    path.write_text("\n".join((f"unset {' '.join(_ELSEWHERE)}", *exports, "")), encoding="utf-8")
    return path


def instructions(script: pathlib.Path) -> Iterator[str]:
    """Yield what to do with these lines, and the lines."""
    yield ""
    yield "The cluster, AWS and the operator stay up until Ctrl-C, which removes everything."
    yield f"In another terminal, paste these lines, or type: . {shlex.quote(str(script))}"
    yield ""
    yield from script.read_text(encoding="utf-8").splitlines()
    yield ""
    yield "Then try: queue-processor nodes list"
