"""Generate the references of commands, Events, metrics, settings and the migration from the code.

`make docs` runs it; a test fails when a file differs from its output.
"""

import pathlib
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import typer.core
import typer.main
import typer.testing

from queue_processor import cli
from queue_processor.migration import table
from queue_processor.migration.table import Fate, Rule
from queue_processor.observability import event_reasons, metrics
from queue_processor.observability.catalogue import Entry, Label
from queue_processor.settings import Settings

Schema: TypeAlias = Mapping[str, Any]

DOCS = pathlib.Path(__file__).parent

_WIDTH = 100

_CLI_HEAD = """\
# Commands

What `--help` prints, for each command. `make docs` generates this page. `-h` does the same, and
`queue-processor --install-completion` sets up completion for bash, zsh and fish.
"""

_METRICS_HEAD = """\
# Metrics

The operator serves its metrics at `/metrics` (setting `http.bind`) for Prometheus. `make docs`
generates this page from [the catalogue](../queue_processor/observability/metrics.py), and a test
runs the operator for each metric and checks what it counts.

Label values come from fixed lists, so the number of series is bounded. Unless noted otherwise, all
series exist from the start, at 0. With several replicas only the leader does the work (with
`mode: observe`, all of them do): sum over the pods.
"""

_EVENTS_HEAD = """\
# Kubernetes Events

The operator records Events on nodes and pods. `make docs` generates this page from
[the catalogue](../queue_processor/observability/event_reasons.py). Events are best effort: a drain
does not wait for them, and those that cannot be written are counted in
[`queue_processor_kubernetes_events_dropped_total`](metrics.md#queue_processor_kubernetes_events_dropped_total).

```console
$ kubectl describe node NODE
$ kubectl get events -A --field-selector reportingComponent=queue-processor
```

Events on nodes are in the namespace `default`, Events on pods in the namespace of the pod. In a
storm they are written after the evictions, and what waits about one node becomes one Event: the
note of `Drained` then goes on with `before:` and the reason and note of the earlier one.

"""

_SETTINGS_HEAD = """\
# Settings

`make docs` generates this page from [the code](../queue_processor/settings). An environment
variable takes precedence over the YAML file (`--config`, or `QUEUE_PROCESSOR_CONFIG`), and the file
over the default. The variable is `QUEUE_PROCESSOR_` and the name in capitals, with two underscores
between a group and what is in it: `drain.on_deadline` is `QUEUE_PROCESSOR_DRAIN__ON_DEADLINE`.
Settings whose names end in `_seconds` are in seconds.

```yaml
queue_url: https://sqs.eu-west-1.amazonaws.com/123456789012/queue-processor
drain:
  on_deadline: leave
```

The program refuses to start with an unknown setting or a value that is not allowed, and prints one
line for each. `queue-processor config validate` does only that, `config show` prints every setting
with its value, and `config schema` the JSON schema. AWS and Kubernetes are configured in their own
ways: profiles, web identity; the pod's service account or `KUBECONFIG`. The Region is that of the
queue's URL, unless `AWS_REGION` names another.
"""

_MIGRATION_HEAD = """\
# Migrate from aws-node-termination-handler

For clusters that run aws-node-termination-handler (NTH). The tables are for NTH v1.25. `make docs`
generates them from [the table](../queue_processor/migration/table.csv) that
`queue-processor migrate` uses.

NTH runs in one of two modes. In Queue Processor mode it reads a queue, as our operator does. In
IMDS mode, unless `enableSqsTerminationDraining` is true, each pod of a DaemonSet reads the instance
metadata and drains its own node. The values that are migrated from it enable the
[watcher](install.md#spot-nodes-only-no-aws-set-up), which reads the same and leaves the draining to
the operator.

## Observe first

Before you switch, let queue-processor run beside NTH and log what it would do. Nothing is drained
twice, because only NTH drains.

1. From Queue Processor mode, do steps 1 to 3 [below](#from-queue-processor-mode-step-by-step). The
   queue must not be NTH's, or each program misses what the other takes: the rules of the new stack
   send to the new queue, those of NTH to NTH's. From IMDS mode, do steps 1 and 2; the watchers
   write notices on their Nodes, and nothing else.
2. Install the chart with these values and `--set settings.mode=observe`, and compare its
   `plan_observed` lines with what NTH does ([Observe first](install.md#observe-first)).
3. To switch, add the tolerations below, upgrade with `--set settings.mode=drain`, wait for the
   rollout, and uninstall NTH. Between the last two, both drain the node of an event.

The command migrates `dryRun: true` to `mode: observe`.

## From IMDS mode, step by step

1. Convert all values, because much of IMDS mode is NTH's default:

   ```console
   $ helm get values aws-node-termination-handler --all -o yaml > nth-values.yaml
   $ queue-processor migrate nth-values.yaml --output helm > values.yaml
   ```

2. NTH runs on every node unless you selected some, and so do the migrated watchers. If Spot
   nodes are enough, delete `watcher.affinity` from `values.yaml`.
3. Nodes get other taints: see step 4 below.
4. Uninstall NTH, and install the chart with these values, as in
   [Spot nodes only](install.md#spot-nodes-only-no-aws-set-up). Nothing is lost in between: instance
   metadata announces an event until the instance is gone.
5. Later, if you like, [add the queue](install.md#add-the-queue), which also reports events that
   instance metadata does not.

## From Queue Processor mode, step by step

1. Create a new queue, as [install.md](install.md) describes: two programs that read one queue take
   each other's messages. By default NTH drains only instances with a tag, and so do the migrated
   settings: create the stack with `UseManagedTag=true`, or delete `managed_tag` in step 3.
2. Convert the settings. The command lists on stderr what is not migrated, and why:

   ```console
   $ helm get values aws-node-termination-handler -o yaml > nth-values.yaml
   $ queue-processor migrate nth-values.yaml --output helm > values.yaml
   ```

   Without `--output helm` it prints a settings file for `--config`. It also reads environment
   variables: in NTH's Deployment or DaemonSet (`kubectl get`, `helm get manifest`,
   `helm template`), as a list, or as `KEY=VALUE` lines. `-` reads stdin.
3. In `values.yaml`, set `settings.queue_url` to the new queue and `serviceAccount.roleArn` to the
   new role: both are outputs of the stack.
4. Nodes get other taints, `queue-processor/<kind>` instead of `aws-node-termination-handler/…`:
   add a toleration to pods that tolerate the taints of NTH.
5. Uninstall NTH, and install the chart ([install.md](install.md)) with these values.

## Settings

The command also accepts the former names of settings.
"""

_MIGRATION_CHART = """
## Values of NTH's chart

Values that are not among the settings above. Those of our chart are in the output of
`--output helm` only.
"""

_WORDS = {
    "boolean": "`true`, `false`",
    "string": "text",
    "path": "a path",
    "uri": "a URL",
}


def cli_reference() -> str:
    """Return docs/cli.md."""
    root = typer.main.get_group(cli.app)
    sections = [_help_of(path) for path in _command_paths(root, ())]
    return "\n".join([_CLI_HEAD, *sections])


def _command_paths(
    group: typer.core.TyperGroup, path: tuple[str, ...]
) -> Iterator[tuple[str, ...]]:
    """Yield the path of a group, and those of all commands in it."""
    yield path
    for name in group.commands:
        command = group.commands[name]
        if isinstance(command, typer.core.TyperGroup):
            yield from _command_paths(command, (*path, name))
        else:
            yield (*path, name)


def _help_of(path: tuple[str, ...]) -> str:
    """Return the section of a command, with its help as on a terminal of 80 columns."""
    runner = typer.testing.CliRunner(env={"COLUMNS": "80"})
    shown = runner.invoke(cli.app, [*path, "--help"], prog_name="queue-processor")
    name = " ".join(("queue-processor", *path))
    heading = "###" if len(path) > 1 else "##"
    return f"{heading} {name}\n\n```text\n{shown.output.strip()}\n```\n"


def metrics_reference() -> str:
    """Return docs/metrics.md."""
    entries = metrics.CATALOGUE.entries
    overview = ["| metric | type | labels |", "|---|---|---|"]
    for entry in entries:
        labels = ", ".join(f"`{label.name}`" for label in entry.labels)
        anchor = f"[`{entry.name}`](#{entry.name})"
        overview.append(f"| {anchor} | {entry.kind} | {labels} |")
    sections = ["\n".join(_section(entry)) for entry in entries]
    return "\n".join([_METRICS_HEAD, *overview, "", "\n\n".join(sections), ""])


def _section(entry: Entry) -> Iterator[str]:
    yield f"## {entry.name}"
    yield ""
    yield textwrap.fill(" ".join(_sentences(entry)), _WIDTH)
    if entry.labels or entry.buckets:
        yield ""
    for label in entry.labels:
        yield textwrap.fill(f"- `{label.name}`: {_values(label)}", _WIDTH, subsequent_indent="  ")
    if entry.buckets:
        yield f"- buckets, in seconds: {', '.join(f'{bound:g}' for bound in entry.buckets)}"


def _sentences(entry: Entry) -> Iterator[str]:
    yield entry.meaning
    if not entry.preset:
        yield "A series exists once it has counted something."


def _values(label: Label) -> str:
    return label.described or ", ".join(f"`{value}`" for value in label.values) or "any"


def events_reference() -> str:
    """Return docs/events.md, from the catalogue of reasons."""
    rows = ["| reason | type | on | |", "|---|---|---|---|"]
    rows += [
        f"| `{reason.name}` | {reason.type} | {reason.regarding} | {reason.meaning} |"
        for reason in event_reasons.REASONS
    ]
    return "\n".join([_EVENTS_HEAD.rstrip("\n"), "", *rows, ""])


def settings_reference() -> str:
    """Return docs/settings.md, from the JSON schema of the settings."""
    schema = Settings.model_json_schema()
    return "\n".join([_SETTINGS_HEAD, "\n\n".join(_tables(schema["properties"], schema)), ""])


def _tables(properties: Schema, schema: Schema, *, prefix: str = "") -> Iterator[str]:
    """Yield the table of the settings of a group, and then the section of each group in it."""
    groups = {key: _group_of(setting, schema) for key, setting in properties.items()}
    yield _table({key: properties[key] for key in properties if groups[key] is None}, schema)
    for key, group in groups.items():
        if group is None:
            continue
        meaning = properties[key].get("description") or group["description"]
        yield f"## {prefix}{key}\n\n{textwrap.fill(meaning, _WIDTH)}"
        yield from _tables(group["properties"], schema, prefix=f"{prefix}{key}.")


def _group_of(setting: Schema, schema: Schema) -> Schema | None:
    """Return the schema of a group, or of the items of a list; None for a single value."""
    reference = setting.get("items", setting).get("$ref")
    if reference is None:
        return None
    group = _resolved(reference, schema)
    return group if "properties" in group else None


def _resolved(reference: str, schema: Schema) -> Schema:
    definition: Schema = schema["$defs"][reference.rpartition("/")[2]]
    return definition


def _table(properties: Schema, schema: Schema) -> str:
    rows = ["| setting | default | allowed | |", "|---|---|---|---|"]
    for key, setting in properties.items():
        default = _default(setting)
        rows.append(
            f"| `{key}` | {default} | {_allowed(setting, schema)} | {setting['description']} |"
        )
    return "\n".join(rows)


def _default(setting: Schema) -> str:
    if "default" not in setting:
        return "required"
    match setting["default"]:
        case None | "":
            return "none"
        case list() as several:
            # The order of a set is arbitrary.
            return ", ".join(f"`{each}`" for each in sorted(several))
        case bool() as flag:
            return f"`{str(flag).lower()}`"
        case value:
            return f"`{value}`"


def _allowed(setting: Schema, schema: Schema) -> str:
    if "$ref" in setting:
        return _allowed(_resolved(setting["$ref"], schema), schema)
    if "anyOf" in setting:
        parts = [_allowed(part, schema) for part in setting["anyOf"] if part != {"type": "null"}]
        return ", or ".join(parts)
    if "enum" in setting:
        return ", ".join(f"`{value}`" for value in setting["enum"])
    if setting["type"] == "array":
        return f"a list of {_allowed(setting['items'], schema)}"
    if "maximum" in setting:
        over = "over " if "exclusiveMinimum" in setting else ""
        least = setting.get("minimum", setting.get("exclusiveMinimum"))
        return f"{over}{least} to {setting['maximum']}"
    return _WORDS[setting.get("format", setting["type"])]


def migration_reference() -> str:
    """Return docs/migrate-from-nth.md, from the table that the command uses."""
    old_names = {name: old for old, name in table.OLD_NAMES.items()}
    settings = ["| NTH | in its chart | queue-processor |", "|---|---|---|"]
    values = ["| NTH's chart | queue-processor |", "|---|---|"]
    for name, rules in table.RULES.items():
        cell = ". ".join(map(_migration_rule, rules))
        if name in table.CHART_KEYS:
            old = f", once `{old_names[name]}`" if name in old_names else ""
            key = f"`{table.CHART_KEYS[name]}`" if table.CHART_KEYS[name] else ""
            settings.append(f"| `{name}`{old} | {key} | {cell} |")
        else:
            values.append(f"| `{name}` | {cell} |")
    return "\n".join([_MIGRATION_HEAD, *settings, _MIGRATION_CHART, *values, ""])


def _migration_rule(rule: Rule) -> str:
    if rule.fate is not Fate.MAPPED:
        text = f"{rule.fate}: {rule.note}"
    else:
        text = "; ".join(filter(None, (_migrated_key(rule.becomes), rule.note)))
    match rule.case.split():
        case []:
            return text
        case ["else"]:
            return f"Else {text}"
        case ["true" | "false" as value]:
            return f"`{value}`: {text}"
        case ["with", other]:
            return f"with `{other}`: {text}"
        case _:
            return f"{rule.case}: {text}"


def _migrated_key(key: str) -> str:
    match key.replace("chart:env.", "chart:env:").split(":"):
        case ["chart", "env", variable]:
            return f"`{variable}` in the environment (`env` of the chart)"
        case ["chart", value]:
            return f"`{value}` of the chart"
        case _:
            return f"`{key}`"


REFERENCES: Mapping[str, Callable[[], str]] = {
    "cli.md": cli_reference,
    "events.md": events_reference,
    "metrics.md": metrics_reference,
    "migrate-from-nth.md": migration_reference,
    "settings.md": settings_reference,
}

if __name__ == "__main__":
    for name, made in REFERENCES.items():
        (DOCS / name).write_text(made(), encoding="utf-8")
