"""The Terraform module: its variables and outputs are made from the template of the stack.

`python -m tests.infra.terraform` (`make manifests`) writes infra/terraform/interface.tf.
"""

import json
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import typer

from tests.infra import templates

Parameter: TypeAlias = Mapping[str, Any]

MODULE = templates.QUEUE.parents[1] / "terraform"
INTERFACE = MODULE / "interface.tf"
_BOOLEANS = ["true", "false"]

_HEADER = """\
# `make manifests` generates this file from ../cloudformation/queue-processor.yaml.

variable "name" {
  description = "The name of the stack."
  type        = string
  default     = "queue-processor"
}

variable "tags" {
  description = "Tags of the stack, which CloudFormation copies to its resources."
  type        = map(string)
  default     = {}
}
"""


def interface() -> str:
    """Return interface.tf: a variable for each parameter, and an output for each output."""
    template = templates.read(templates.QUEUE)
    parameters, outputs = template["Parameters"], template["Outputs"]
    blocks = [
        *(_variable(name, parameter) for name, parameter in parameters.items()),
        "\n".join(["locals {", "  parameters = {", *_values(parameters), "  }", "}"]),
        *(_output(name, output) for name, output in outputs.items()),
    ]
    return _HEADER + "".join(f"\n{block}\n" for block in blocks)


def snake_case(name: str) -> str:
    """Return the name that Terraform's style asks for."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _is_list(parameter: Parameter) -> bool:
    return "separated by commas" in parameter["Description"]


def _type(parameter: Parameter) -> str:
    if parameter.get("AllowedValues") == _BOOLEANS:
        return "bool"
    if parameter["Type"] == "Number":
        return "number"
    return "list(string)" if _is_list(parameter) else "string"


def _default(parameter: Parameter) -> str:
    value = parameter["Default"]
    if _is_list(parameter):
        return json.dumps(value.split(",") if value else [])
    return str(value) if _type(parameter) in {"bool", "number"} else json.dumps(value)


def _variable(name: str, parameter: Parameter) -> str:
    # What the template says about commas is not true of a list.
    description = re.sub(r",? separated by commas", "", parameter["Description"])
    lines = [
        f'variable "{snake_case(name)}" {{',
        f"  description = {json.dumps(description)}",
        f"  type        = {_type(parameter)}",
        f"  default     = {_default(parameter)}",
        *_validation(name, parameter),
        "}",
    ]
    return "\n".join(lines)


def _validation(name: str, parameter: Parameter) -> Iterator[str]:
    """Yield the check of the values that the template allows; it checks patterns itself."""
    values = parameter.get("AllowedValues", _BOOLEANS)
    if values == _BOOLEANS:
        return
    yield ""
    yield "  validation {"
    yield f"    condition     = contains({json.dumps(values)}, var.{snake_case(name)})"
    yield f'    error_message = "Must be one of {", ".join(values)}."'
    yield "  }"


def _values(parameters: Mapping[str, Parameter]) -> Iterator[str]:
    width = max(map(len, parameters))
    for name, parameter in parameters.items():
        variable = f"var.{snake_case(name)}"
        value = f'join(",", {variable})' if _is_list(parameter) else f"tostring({variable})"
        yield f"    {name:{width}} = {value}"


def _output(name: str, output: Mapping[str, Any]) -> str:
    value = f'aws_cloudformation_stack.this.outputs["{name}"]'
    if "Condition" in output:
        # An output of a resource that these parameters do not create.
        value = f"try({value}, null)"
    lines = [
        f'output "{snake_case(name)}" {{',
        f"  description = {json.dumps(output['Description'])}",
        f"  value       = {value}",
        "}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    INTERFACE.write_text(interface(), encoding="utf-8")
    typer.echo(f"{INTERFACE.relative_to(pathlib.Path.cwd())} is up to date")
