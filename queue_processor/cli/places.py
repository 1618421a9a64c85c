"""The options that say which cluster and which AWS account a command works with.

They take the place of the environment that kubectl and the AWS CLI read, so a command without them
works where those do.
"""

import dataclasses
import enum
import functools
import inspect
import os
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer


class Place(enum.Enum):
    """A place that a command works with."""

    CLUSTER = enum.auto()
    AWS = enum.auto()


@dataclasses.dataclass(frozen=True, slots=True)
class PlaceOption:
    """An option of every command that works with a place.

    Attributes:
        name: Without the two hyphens.
        apply: Called with the value before the command runs.
    """

    name: str
    metavar: str
    summary: str
    apply: Callable[[str], None]

    @property
    def parameter(self) -> inspect.Parameter:
        """Return what a command would have in its signature for this option."""
        option = typer.Option(f"--{self.name}", metavar=self.metavar, help=self.summary)
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[str | None, option],
        )


def _variable(name: str) -> Callable[[str], None]:
    def apply(value: str) -> None:
        os.environ[name] = value

    return apply


def _use_context(name: str) -> None:
    # Imported by commands that need it: it takes the Kubernetes client along.
    from queue_processor.adapters.kube import connection  # noqa: PLC0415

    connection.context.set(name)


_OPTIONS = {
    Place.CLUSTER: (
        PlaceOption("context", "NAME", "The context of the kubeconfig.", _use_context),
        PlaceOption(
            "kubeconfig",
            "FILE",
            "The kubeconfig, instead of KUBECONFIG.",
            _variable("KUBECONFIG"),
        ),
    ),
    Place.AWS: (
        PlaceOption(
            "profile",
            "NAME",
            "The AWS profile, instead of AWS_PROFILE.",
            _variable("AWS_PROFILE"),
        ),
        PlaceOption(
            "region",
            "NAME",
            "The AWS Region, instead of AWS_REGION and that of the queue.",
            _variable("AWS_REGION"),
        ),
    ),
}


def taking(places: Iterable[Place]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command the options of these places."""
    options = [option for place in places for option in _OPTIONS[place]]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(*arguments: Any, **keywords: Any) -> None:  # noqa: ANN401 - those of any command
            for option in options:
                value = keywords.pop(option.name)
                if value is not None:
                    option.apply(value)
            function(*arguments, **keywords)

        signature = inspect.signature(function)
        parameters = [option.parameter for option in options]
        run.__annotations__ = function.__annotations__ | {
            each.name: each.annotation for each in parameters
        }
        run.__signature__ = signature.replace(  # type: ignore[attr-defined] # inspect reads it
            parameters=[*signature.parameters.values(), *parameters]
        )
        return run

    return decorate
