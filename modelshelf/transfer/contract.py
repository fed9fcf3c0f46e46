"""What arrives, and where: the two sides of every transfer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, order=True, slots=True)
class Span:
    """The bytes from `start` up to and without `end`."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


class Destination(Protocol):
    """Where one blob arrives. Spans may be written by several threads at once, each from its start on."""

    @property
    def resumed(self) -> bool:
        """Some of the content was there before: it is used, and proven by the digest at the end like the rest."""

    def validator(self) -> str | None:
        """The ETag or date under which the content that is there was served; None if none was noted."""

    def begin_with(self, validator: str | None) -> None:
        """Note under which validator the content arrives."""

    def missing(self, part_bytes: int) -> list[Span]:
        """What has not arrived, in order, in spans of at most `part_bytes`."""

    def write_at(self, offset: int, *pieces: bytes) -> None:
        """Write these, one after the other, within a span that is missing.

        Raises WriteFailed, and nothing is kept, if the disk refuses.
        """

    def finish(self, span: Span) -> None:
        """Note that the whole span has arrived, so that the next process need not fetch it. Cheap: once a MiB."""

    def arrived(self) -> int:
        """Bytes that were noted as arrived."""

    def reset(self) -> None:
        """Forget what has arrived; begin at byte zero."""
