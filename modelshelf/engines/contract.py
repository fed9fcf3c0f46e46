"""What every engine tells about itself: which formats it takes, its command, and how to see that it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from modelshelf.formats.image import ModelFile
from modelshelf.formats.kinds import Format
from modelshelf.formats.parts import Parts
from modelshelf.names import ServedName
from modelshelf.wire import Authorization, Url, Wire


@dataclass(frozen=True, slots=True)
class Mounted:
    """One version as an engine finds it: its files below `folder`, read-only."""

    served_name: ServedName
    category: str
    format: Format
    folder: Path
    files: tuple[ModelFile, ...]
    parts: Parts | None = None
    """Which of the files is the model and what goes with it; None for versions of before this was decided at import."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where an engine listens. `own` is the instance's private folder: what the engine writes goes there.

    `key_file` holds the key that requests must carry, None for none.
    """

    bind: str
    port: int
    own: Path
    key_file: Path | None = None

    @property
    def host(self) -> str:
        """`bind` as it is written in a URL."""
        return f"[{self.bind}]" if ":" in self.bind else self.bind

    @property
    def url(self) -> Url:
        """Its address as seen from this machine."""
        near = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(self.host, self.host)
        return Url(f"http://{near}:{self.port}")


@dataclass(frozen=True, slots=True)
class Command:
    """What is executed. No secret is in either; `left_out` says in sentences what of a version is not applied.

    `cpus` and `memory` (bytes) are the most that it may use; 0 is no limit.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    cpus: int = 0
    memory: int = 0


class Engine(Protocol):
    """One kind of server. Stateless."""

    name: str
    accepts: frozenset[Format]
    takes_key: bool
    """It can require a key of those who ask."""
    models_at_once: int
    """How many models one instance serves at most."""

    def require_installed(self) -> None:
        """Raise EngineMissing, saying what to install, if it cannot be started here."""

    def lay_out(self, mounted: Sequence[Mounted], own: Path) -> None:
        """What it needs beside the replicas is in the instance's folder, as links; what it wrote there itself stays."""

    def command(self, mounted: Sequence[Mounted], listen: Listen, arguments: Sequence[str]) -> Command:
        """The command that serves these. Raises NothingToServe."""

    def listed_name(self, served: ServedName) -> str:
        """How it lists a model of that name."""

    def identity(self, mounted: Mounted) -> str | None:
        """The digest that it must list for the model; None if it lists none."""

    def is_up(self, wire: Wire, url: Url) -> bool:
        """It answers, and has loaded what it serves. Raises Unavailable while nothing answers."""

    def listed(self, wire: Wire, url: Url, key: Authorization | None) -> dict[str, str | None]:
        """The names under which it serves, each with the digest that it says."""

    def first_token(self, wire: Wire, url: Url, key: Authorization | None, mounted: Mounted) -> None:
        """One token (or one embedding) came back. Raises UnexpectedAnswer or Unavailable if not."""
