"""Finds settings of NTH in what people have: values of its chart, a manifest, an env block."""

import dataclasses
import io
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence

import dotenv
import yaml

from queue_processor.domain import errors
from queue_processor.settings.nth.rules import Elsewhere, InSecret

SIZE_LIMIT = 1024 * 1024

_CHART = "aws-node-termination-handler"
_ASSIGNMENT = re.compile(r"(export\s+)?[A-Z][A-Z0-9_]*=.*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUOTED = 60
# Nothing reads a queue without it, so it tells NTH from what else is in a rendered chart.
_QUEUE = "QUEUE_URL"


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """One setting, as it stands in the file.

    Attributes:
        name: Its name there.
        value: What YAML makes of it; InSecret or Elsewhere for what lies outside of the file.
    """

    name: str
    value: object


def read(text: str) -> Sequence[Found]:
    """Find the settings that are set; what is empty is not, as in NTH.

    Args:
        text: Values of NTH's chart (also below its name, as for a subchart), manifests with its
            Deployment among them, a list of environment variables as it stands in one, a mapping
            of them, or KEY=VALUE lines.

    Raises:
        UsageError: It is none of these, or nothing is set in it.
    """
    if len(text) > SIZE_LIMIT:
        raise errors.UsageError(f"larger than {SIZE_LIMIT // 1024} KiB: not a values file")
    lines = [line for line in map(str.strip, text.splitlines()) if line and line[0] != "#"]
    if lines and all(_ASSIGNMENT.fullmatch(line) for line in lines):
        found = _of_lines(text)
    else:
        found = _of_yaml(_parsed(text))
    kept = [each for each in found if each.value not in (None, "", {}, [])]
    if not kept:
        raise errors.UsageError("nothing is set in it")
    return kept


def variables(items: Sequence[object]) -> Iterator[Found]:
    """The environment variables of a list of them.

    https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#environment-variables

    Raises:
        UsageError: An item is no environment variable.
    """
    for item in items:
        name = item.get("name") if isinstance(item, Mapping) else None
        if not isinstance(item, Mapping) or not isinstance(name, str):
            raise errors.UsageError(f"{reprlib.repr(item)[:_QUOTED]} is no environment variable")
        if not _VARIABLE.fullmatch(name):
            raise errors.UsageError(f"{name[:_QUOTED]!r} is no name of an environment variable")
        yield Found(name, _value_of(item))


def _value_of(item: Mapping[object, object]) -> object:
    source = item.get("valueFrom")
    if source is None:
        return item.get("value")
    reference = source.get("secretKeyRef") if isinstance(source, Mapping) else None
    match reference:
        case {"name": str(name), "key": str(key)}:
            return InSecret(name, key)
        case _:
            return Elsewhere()


def _of_lines(text: str) -> Iterator[Found]:
    values = dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False)
    yield from (Found(name, value) for name, value in values.items())


def _parsed(text: str) -> Sequence[object]:
    """The documents in it that are not empty."""
    try:
        documents = [found for found in yaml.safe_load_all(text) if found is not None]
        # What can be read but not written, such as a hexadecimal number of any length, ends here.
        yaml.safe_dump_all(documents)
    except yaml.YAMLError as cause:
        told = " ".join(str(cause).split())
        raise errors.UsageError(f"neither YAML nor KEY=VALUE lines: {told[:300]}") from cause
    except RecursionError:
        raise errors.UsageError("nested too deeply") from None
    except ValueError as cause:
        # A number or a date that is none.
        raise errors.UsageError(f"not YAML that can be read: {str(cause)[:300]}") from cause
    return documents


def _of_yaml(documents: Sequence[object]) -> Iterator[Found]:
    match documents:
        case [list(items)] | [{"env": list(items)}]:
            yield from variables(items)
        case [{"kind": str()}, *_]:
            yield from variables(_env_of(documents))
        case [dict(loaded)]:
            below = loaded.get(_CHART)
            values = below if isinstance(below, dict) else loaded
            yield from (Found(str(name), value) for name, value in values.items())
        case _:
            raise errors.UsageError(
                "values of NTH's chart, a Deployment, or environment variables are needed"
            )


def _env_of(manifests: Sequence[object]) -> Sequence[object]:
    """The variables of the container that reads a queue, else of the first that has any.

    Raises:
        UsageError: There is none.
    """
    found = [
        container["env"]
        for manifest in manifests
        for container in _containers(manifest)
        if isinstance(container, Mapping) and isinstance(container.get("env"), list)
    ]
    if not found:
        raise errors.UsageError("no container with environment variables is in it")
    return max(found, key=_names_a_queue)


def _containers(manifest: object) -> Iterator[object]:
    match manifest:
        case {"kind": "List", "items": list(items)}:
            for item in items:
                yield from _containers(item)
        case {"spec": {"template": {"spec": {"containers": list(containers)}}}}:
            yield from containers
        case {"spec": {"containers": list(containers)}}:
            yield from containers


def _names_a_queue(variables: Sequence[object]) -> bool:
    return any(isinstance(each, Mapping) and each.get("name") == _QUEUE for each in variables)
