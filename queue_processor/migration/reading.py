"""Read settings of NTH from values of its chart, a manifest, or environment variables."""

import dataclasses
import io
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence

import dotenv
import yaml

from queue_processor.domain import errors

SIZE_LIMIT = 1024 * 1024
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_CHART = "aws-node-termination-handler"
_ASSIGNMENT = re.compile(r"(export\s+)?[A-Z][A-Z0-9_]*=.*")
_QUOTE_LENGTH = 60


@dataclasses.dataclass(frozen=True, slots=True)
class NthSetting:
    """A setting of NTH: its name in the file, and what YAML makes of its value."""

    name: str
    value: object


def read(text: str) -> Sequence[NthSetting]:
    """Return the settings that are not empty. NTH ignores empty ones, too.

    Args:
        text: Values of NTH's chart (also below its name, as for a subchart), manifests that include
            its Deployment or DaemonSet, a list or a mapping of environment variables, or KEY=VALUE
            lines.

    Raises:
        UsageError: It is none of these, or sets nothing.
    """
    if len(text) > SIZE_LIMIT:
        raise errors.UsageError(f"larger than {SIZE_LIMIT // 1024} KiB: not a values file")
    lines = [line for line in map(str.strip, text.splitlines()) if line and line[0] != "#"]
    if lines and all(_ASSIGNMENT.fullmatch(line) for line in lines):
        pairs = dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False)
        settings = [NthSetting(name, value) for name, value in pairs.items()]
    else:
        settings = list(_from_documents(_documents(text)))
    settings = [setting for setting in settings if setting.value not in (None, "", {}, [])]
    if not settings:
        raise errors.UsageError(
            "nothing is set in it; if all is NTH's default, read `helm get values --all`"
        )
    return settings


def variables(items: Sequence[object]) -> Iterator[NthSetting]:
    """Read the `env` list of a container; a value that is elsewhere becomes `{valueFrom: ...}`.

    https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#environment-variables

    Raises:
        UsageError: An item is not an environment variable.
    """
    for item in items:
        name = item.get("name") if isinstance(item, Mapping) else None
        if not isinstance(item, Mapping) or not isinstance(name, str):
            quoted = reprlib.repr(item)[:_QUOTE_LENGTH]
            raise errors.UsageError(f"{quoted} is not an environment variable")
        if not VARIABLE.fullmatch(name):
            quoted = repr(name[:_QUOTE_LENGTH])
            raise errors.UsageError(f"{quoted} is not a name of an environment variable")
        source = item.get("valueFrom")
        yield NthSetting(name, item.get("value") if source is None else {"valueFrom": source})


def _documents(text: str) -> Sequence[object]:
    """Parse YAML, without its empty documents."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
        # Some values can be read but not written, such as a hexadecimal number with 5,000 digits.
        yaml.safe_dump_all(documents)
    except yaml.YAMLError as cause:
        reason = " ".join(str(cause).split())
        raise errors.UsageError(f"neither YAML nor KEY=VALUE lines: {reason[:300]}") from cause
    except RecursionError:
        raise errors.UsageError("nested too deeply") from None
    except ValueError as cause:
        # YAML took something for a number or a date that Python cannot represent.
        raise errors.UsageError(f"not valid YAML: {str(cause)[:300]}") from cause
    return documents


def _from_documents(documents: Sequence[object]) -> Iterator[NthSetting]:
    match documents:
        case []:
            return
        case [list(items)] | [{"env": list(items)}]:
            yield from variables(items)
        case [{"kind": str()}, *_]:
            yield from variables(_env_of(documents))
        case [dict(top)]:
            below = top.get(_CHART)
            values = below if isinstance(below, dict) else top
            yield from (NthSetting(str(name), value) for name, value in values.items())
        case _:
            raise errors.UsageError(
                "expected values of NTH's chart, its Deployment or its DaemonSet,"
                " or environment variables"
            )


def _env_of(manifests: Sequence[object]) -> Sequence[object]:
    """Return the variables of the container of NTH, else of the first that has variables."""
    lists = [
        container["env"]
        for manifest in manifests
        for container in _containers(manifest)
        if isinstance(container, Mapping) and isinstance(container.get("env"), list)
    ]
    if not lists:
        raise errors.UsageError("it does not contain a container with environment variables")
    # Manifests may contain other programs, but only NTH has these settings.
    return max(lists, key=_is_of_nth)


def _is_of_nth(items: Sequence[object]) -> bool:
    names = {item.get("name") for item in items if isinstance(item, Mapping)}
    return not names.isdisjoint({"QUEUE_URL", "ENABLE_SQS_TERMINATION_DRAINING"})


def _containers(manifest: object) -> Iterator[object]:
    match manifest:
        case {"kind": "List", "items": list(items)}:
            for item in items:
                yield from _containers(item)
        case {"spec": {"template": {"spec": {"containers": list(containers)}}}}:
            yield from containers
        case {"spec": {"containers": list(containers)}}:
            yield from containers
