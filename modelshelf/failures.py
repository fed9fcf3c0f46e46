"""What every error is: the docstring of its class is its message, and the step that began the work adds the outcome."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

__all__ = ["ModelshelfError", "OfAnyLayer", "Refused", "Unavailable", "outcome"]


class ModelshelfError(Exception):
    """Something went wrong in modelshelf."""

    outcome: str = ""
    """What state things are in now and what to do, as the step that began the work put it."""

    def __init__(self, **facts: object) -> None:
        self.facts = {name: str(value) for name, value in facts.items()}
        template = " ".join(inspect.getdoc(type(self)).split())  # type: ignore[union-attr]
        super().__init__(template.format(**self.facts))

    def __str__(self) -> str:
        return f"{self.sentence} {self.outcome}".rstrip()

    @property
    def sentence(self) -> str:
        """What happened, expected and found, without the outcome."""
        return super().__str__()

    @classmethod
    def _again(cls, facts: dict[str, str]) -> Self:
        return cls(**facts)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self)._again, (self.facts,), {"outcome": self.outcome})


class OfAnyLayer(ModelshelfError):
    """An error of layers that do not know what they are used for."""


@contextmanager
def outcome(state: str, *, again: str = "") -> Iterator[None]:
    """Add `state` to a passing error that does not state it itself, and `again` if trying again may help.

    The innermost `outcome` is kept: it is the closest to the facts.
    """
    try:
        yield
    except OfAnyLayer as error:
        if not error.outcome:
            error.outcome = f"{state} {again}".strip() if isinstance(error, Unavailable) else state
        raise


class Refused(ModelshelfError):
    """It was refused."""


class Unavailable(ModelshelfError):
    """It is not available now. Try again."""
