"""What every engine tells about itself: which formats it takes, its command, and how to see that it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from modelshelf.formats.image import PackedFile
from modelshelf.formats.kinds import Format
from modelshelf.names import ServedName
from modelshelf.wire import Authorization, Url, Wire


@dataclass(frozen=True, slots=True)
class Mounted:
    """One version as an engine finds it: its files below `folder`, read-only."""

    served_name: ServedName
    category: str
    format: Format
    folder: Path
    files: tuple[PackedFile, ...]


@dataclass(frozen=True, slots=True)
class Listen:
    """Where an engine listens. `key_file` holds the key that requests must carry, None for none."""

    bind: str
    port: int
    key_file: Path | None = None

    @property
    def url(self) -> Url:
        """Its address as seen from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.bind, self.bind)
        return Url(f"http://{f'[{host}]' if ':' in host else host}:{self.port}")


@dataclass(frozen=True, slots=True)
class Command:
    """What is executed. No secret is in either; `left_out` says in sentences what of a version is not applied."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


class Engine(Protocol):
    """One kind of server. Stateless."""

    name: str
    accepts: frozenset[Format]
    takes_key: bool
    """It can require a key of those who ask."""

    def require_installed(self) -> None:
        """Raise EngineMissing, saying what to install, if it cannot be started here."""

    def command(self, mounted: Sequence[Mounted], listen: Listen, arguments: Sequence[str]) -> Command:
        """The command that serves these. Raises NothingToServe."""

    def is_up(self, wire: Wire, url: Url) -> bool:
        """It answers, and has loaded what it serves. Raises Unavailable while nothing answers."""

    def listed(self, wire: Wire, url: Url, key: Authorization | None) -> list[str]:
        """The names under which it serves."""

    def first_token(self, wire: Wire, url: Url, key: Authorization | None, mounted: Mounted) -> None:
        """One token (or one embedding) came back. Raises EngineListsOther or Unavailable if not."""
