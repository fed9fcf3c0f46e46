"""What arrives, where, and with what means: a body delivers itself into a destination."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from modelshelf.errors import LimitExceeded
from modelshelf.limits import DEFAULT, Limits
from modelshelf.stop import StopToken
from modelshelf.transfer.connections import Connections

if TYPE_CHECKING:  # a store needs the contract alone, and no HTTP client
    from modelshelf.wire import Login, Wire


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


class Body(Protocol):
    """The bytes of one file at its source, which deliver themselves."""

    @property
    def what(self) -> str:
        """The file's name in messages."""

    @property
    def whose(self) -> str:
        """The source's name in messages."""

    @property
    def size(self) -> int:
        """Bytes, as the source lists them."""

    @property
    def address(self) -> str:
        """Where the bytes are: the same text in each run, so that an interrupted fetch is found again."""

    def deliver(self, into: Destination, downloads: Downloads, *, proven: bool) -> None:
        """Write every byte into `into`, and report each to `downloads.on_bytes`; whoever gave `into` hashes and commits it.

        `proven` is as in `Downloads.fetch`. Raises a subclass of Refused if the source has other content than it listed.
        """


class Downloads:
    """The means of one run, shared by all its files: a client, at most `parts_at_once` connections, a stop token.

    `on_bytes` is called with the number of bytes that have arrived since, from several threads; with a negative number when
    some of them have to come again.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        stop: StopToken,
        on_bytes: Callable[[int], None],
        login: Login | None = None,
        limits: Limits = DEFAULT,
    ) -> None:
        self.wire, self.stop, self.on_bytes, self.login, self.limits = wire, stop, on_bytes, login, limits
        self.connections = Connections(limits)

    def fetch(self, body: Body, into: Destination, *, proven: bool = False) -> None:
        """Let the body deliver all its bytes into `into`. Raises LimitExceeded before the first byte.

        `proven` means that a digest decides in the end: then mirrors behind one name may disagree on the ETag. Without, a file
        whose ETag changes begins again.
        """
        if body.size > self.limits.file_bytes:
            raise LimitExceeded(what=body.what, found=f"{body.size} bytes", limit=f"{self.limits.file_bytes} bytes")
        self.on_bytes(into.arrived())
        body.deliver(into, self, proven=proven)
