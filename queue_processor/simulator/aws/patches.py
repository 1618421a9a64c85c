"""Replacing parts of moto for as long as a simulator runs.

A replacement names the signature of what it replaces. A moto in which that part looks different
stops the start of the simulator: the replacement might do anything there.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from types import ModuleType


class MotoChangedError(RuntimeError):
    """moto no longer looks like what the simulator was written for."""


def expect(owner: type | ModuleType, name: str, parameters: tuple[str, ...]) -> None:
    """Make sure that a class or a module has a function with these parameters, in this order.

    Raises:
        MotoChangedError: It has not.
    """
    member = inspect.getattr_static(owner, name, None)
    function = member.__func__ if isinstance(member, staticmethod) else member
    if not inspect.isfunction(function):
        raise MotoChangedError(f"{_name_of(owner)} has no function {name}")
    taken = tuple(inspect.signature(function).parameters)
    if taken != parameters:
        raise MotoChangedError(f"{_name_of(owner)}.{name} takes {taken}, expected {parameters}")


@contextlib.contextmanager
def replaced(
    owner: type | ModuleType, name: str, replacement: object, *, parameters: tuple[str, ...]
) -> Iterator[None]:
    """Put a replacement in the place of a function of a class or module, and take it out again.

    Args:
        owner: The class or module that has the function.
        name: Its name there.
        replacement: What goes in its place: a function, or a staticmethod.
        parameters: The names of the parameters the original must have, in order.

    Raises:
        MotoChangedError: The original is not there, or takes other parameters.
    """
    expect(owner, name, parameters)
    original = inspect.getattr_static(owner, name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextlib.contextmanager
def added(owner: type, name: str, function: Callable[..., object]) -> Iterator[None]:
    """Give a class a function that it lacks, and take it away again.

    Raises:
        MotoChangedError: The class has one by now: ours may then be superfluous.
    """
    if hasattr(owner, name):
        raise MotoChangedError(f"{_name_of(owner)} has a {name} of its own")
    setattr(owner, name, function)
    try:
        yield
    finally:
        delattr(owner, name)


def _name_of(owner: type | ModuleType) -> str:
    if isinstance(owner, ModuleType):
        return owner.__name__
    return f"{owner.__module__}.{owner.__qualname__}"
