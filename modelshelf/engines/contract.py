"""What every engine tells about itself: which formats it takes, its command, and how to see that it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from modelshelf.addresses import base_url, url_host
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
    context_length: int | None = None
    """Tokens that the model was made for, as its header says; None is unknown."""
    architecture: str | None = None
    """What the header calls the kind of model; None is unknown."""


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
        return url_host(self.bind)

    @property
    def url(self) -> Url:
        """Its address as seen from this machine."""
        return Url(base_url(self.bind, self.port))


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
    """A kind of server. Stateless."""

    name: str
    accepts: frozenset[Format]
    categories: frozenset[str]
    """The categories of models that it can serve; each has its own question in `first_answer`."""
    takes_key: bool
    """The engine can require a key of its clients."""
    models_at_once: int
    """The most models that one instance serves."""
    smaller: str
    """The option of `modelshelf launch` that gives a smaller context, and so needs less memory."""

    def require_installed(self) -> None:
        """Raise EngineMissing, with what to install, if the engine cannot be started on this machine."""

    def require_names(self, names: Sequence[ServedName]) -> None:
        """Raise BadName if the engine cannot tell models of these names apart."""

    def require_environment(self, environment: Mapping[str, str]) -> None:
        """Raise BadSetting if the user's environment sets what modelshelf decides."""

    def require_arguments(self, arguments: Sequence[str]) -> None:
        """Raise BadSetting if the user's arguments set what modelshelf decides, such as the address."""

    def lay_out(self, mounted: Sequence[Mounted], own: Path) -> None:
        """Link what the engine needs beside the replicas into the instance's folder; keep what the engine wrote there."""

    def command(self, mounted: Sequence[Mounted], listen: Listen, arguments: Sequence[str], cpus: int = 0) -> Command:
        """Return the command that serves these models on at most `cpus` processors; 0 is all. Raises NothingToServe."""

    def listed_name(self, served: ServedName) -> str:
        """Return the name under which the engine lists that model."""

    def identity(self, mounted: Mounted) -> str | None:
        """Return the digest that the engine must list for the model; None if it lists none."""

    def is_up(self, wire: Wire, url: Url) -> bool:
        """Return whether the engine answers and has loaded what it serves. Raises Unavailable while nothing answers."""

    def listed(self, wire: Wire, url: Url, key: Authorization | None) -> dict[str, str | None]:
        """Return the names under which the engine serves, each with the digest that it lists."""

    def first_answer(self, wire: Wire, url: Url, key: Authorization | None, mounted: Mounted) -> None:
        """Ask the model one question of its category: a token, an embedding or a score.

        Raises UnexpectedAnswer, AccessDenied or Unavailable if no usable answer comes back.
        """

    def refuses_without_key(self, wire: Wire, url: Url, mounted: Mounted) -> bool:
        """Return whether a request for the model is refused (401 or 403) when it carries no key.

        The request goes to a path that infers: some engines answer `/health` and `/v1/models` without the key.
        """

    def reason_of(self, log: str) -> str | None:
        """Return the line of this start's log that gives the reason of a failure; None if no line does."""
