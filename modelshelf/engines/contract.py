"""What every engine tells about itself: which formats it takes, its command, and how to see that it serves.

An engine touches no disk and starts nothing: it returns what is to be laid out and started, and a node does it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from modelshelf.addresses import url_host
from modelshelf.formats.image import ModelFile
from modelshelf.formats.kinds import Format
from modelshelf.formats.parts import Parts
from modelshelf.names import FilePath, ServedName
from modelshelf.wire import Authorization, Url, Wire


@dataclass(frozen=True, slots=True)
class Model:
    """One version to be served. Where its files are, the node knows."""

    served_name: ServedName
    category: str
    format: Format
    files: tuple[ModelFile, ...]
    parts: Parts | None = None
    """Which of the files is the model and what goes with it; None for versions of before this was decided at import."""
    context_length: int | None = None
    """Tokens that the model was made for, as its header says; None is unknown."""
    architecture: str | None = None
    """What the header calls the kind of model; None is unknown."""
    contents: Mapping[FilePath, bytes] = field(default_factory=dict)
    """The small files that a command depends on: the manifest and the parameters of an Ollama version."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where an engine finds everything, as the engine itself sees it.

    `folders` are those of the models' files, in the order of the models, read-only. `own` is the engine's private folder: what
    it writes goes there. `key_file` holds the key that requests must carry, None for none.
    """

    folders: tuple[PurePosixPath, ...]
    own: PurePosixPath
    bind: str
    port: int
    key_file: PurePosixPath | None = None

    @property
    def host(self) -> str:
        """`bind` as it is written in a URL."""
        return url_host(self.bind)


@dataclass(frozen=True, slots=True)
class Layout:
    """What an engine needs in its own folder before it starts; paths are below that folder.

    What an earlier layout placed and this one does not is removed. What the engine wrote itself stays, and so does a file that is
    named by its digest (`sha256-<hex>`) while a file below `referrers` names that digest.
    """

    links: Mapping[FilePath, tuple[int, FilePath]] = field(default_factory=dict)
    """Links to files of the models: by the number of the model and the file's path in it."""
    copies: Mapping[FilePath, bytes] = field(default_factory=dict)
    """Small files of its own. They are written in this order, after the links."""
    folders: tuple[FilePath, ...] = ()
    referrers: FilePath | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """What is executed, after the program. No secret is in it.

    `cpus` and `memory` (bytes) are the most that the engine may use; 0 is no limit.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    cpus: int = 0
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Program:
    """What starts an engine: an executable on the PATH of a node, or a module of ours around a Python package.

    `advice` says what to install. `setting` names the setting that puts another executable in its place, with its own advice.
    """

    advice: str
    executable: str = ""
    module: str = ""
    package: str = ""
    setting: str = ""
    setting_advice: str = ""


class Engine(Protocol):
    """A kind of server. Stateless."""

    name: str
    accepts: frozenset[Format]
    categories: frozenset[str]
    """The categories of models that it can serve; each has its own question in `first_answer`."""
    takes_key: bool
    """The engine can require a key of its clients."""
    takes_arguments: bool
    """A user can give it arguments."""
    has_templates: bool
    """The engine has a template for conversations with every chat model, also one that brings none."""
    kept_models: FilePath | None
    """The folder below its own where it keeps models in Ollama's layout, those that are made inside among them; None for none."""
    models_at_once: int
    """The most models that one instance serves."""
    smaller: str
    """The option of `modelshelf launch` that gives a smaller context, and so needs less memory."""
    program: Program
    """What a node looks for to start it."""

    def require_names(self, names: Sequence[ServedName]) -> None:
        """Raise BadName if the engine cannot tell models of these names apart."""

    def require_environment(self, environment: Mapping[str, str]) -> None:
        """Raise BadSetting if the user's environment sets what modelshelf decides."""

    def require_arguments(self, arguments: Sequence[str]) -> None:
        """Raise BadSetting if the user's arguments set what modelshelf decides, such as the address."""

    def layout(self, models: Sequence[Model]) -> Layout:
        """Return what has to be in the engine's own folder before it starts. Raises NothingToServe."""

    def left_out(self, model: Model) -> tuple[str, ...]:
        """Return in sentences what of the model is not applied. Its files need not be given."""

    def command(self, models: Sequence[Model], at: Surroundings, arguments: Sequence[str], cpus: int = 0) -> Command:
        """Return what serves these models on at most `cpus` processors; 0 is all. Raises NothingToServe."""

    def listed_name(self, served: ServedName) -> str:
        """Return the name under which the engine lists that model."""

    def identity(self, model: Model) -> str | None:
        """Return the digest that the engine must list for the model; None if it lists none."""

    def is_up(self, wire: Wire, url: Url) -> bool:
        """Return whether the engine answers and has loaded what it serves. Raises Unavailable while nothing answers."""

    def listed(self, wire: Wire, url: Url, key: Authorization | None) -> dict[str, str | None]:
        """Return the names under which the engine serves, each with the digest that it lists."""

    def first_answer(self, wire: Wire, url: Url, key: Authorization | None, model: Model) -> None:
        """Ask the model one question of its category: a token, an embedding or a score.

        Raises UnexpectedAnswer, AccessDenied or Unavailable if no usable answer comes back.
        """

    def refuses_without_key(self, wire: Wire, url: Url, model: Model) -> bool:
        """Return whether a request for the model is refused (401 or 403) when it carries no key.

        The request goes to a path that infers: some engines answer `/health` and `/v1/models` without the key.
        """

    def reason_of(self, log: str) -> str | None:
        """Return the line of this start's log that gives the reason of a failure; None if no line does."""
