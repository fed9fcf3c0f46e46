"""Where things are on this machine. Flows and command ask the same function."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelshelf.errors import BadSetting
from modelshelf.names import FilesystemName, NodeName

_KEYS = {
    "catalog_url": str,
    "llamacpp_server": str,
    "node": str,
    "region": str,
    "filesystems": dict,
    "licenses": list,
    "cgroup": str,
}
_SAID = {str: "a text", dict: "a table", list: "a list of texts", bool: "true or false"}


_LOCAL = NodeName("local")


@dataclass(frozen=True, slots=True)
class Filesystem:
    """A shared filesystem as this machine sees it: where it is mounted, and the region that it belongs to."""

    path: Path
    region: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything under one folder, `home`, unless the configuration says otherwise."""

    home: Path
    catalog_url: str
    llamacpp_server: str | None = None
    """Another executable that takes the arguments of llama.cpp's `llama-server`."""
    cgroup: Path | None = None
    """A cgroup v2 folder in which a child is made for each instance with a limit of memory."""
    node_name: NodeName = _LOCAL
    """What the catalog calls this home's node, and the store of its content."""
    region: str = "local"
    filesystems: Mapping[str, Filesystem] = field(default_factory=dict)
    """By name: models are registered from these in place."""
    licenses: tuple[str, ...] = ()
    """The only licences that are taken, as the Hub names them; empty for all."""

    @property
    def config_file(self) -> Path:
        return self.home / "config.toml"

    @property
    def store(self) -> Path:
        return self.home / "store"

    @property
    def node(self) -> Path:
        """The local node's own folder: its replicas and instances."""
        return self.home / "node"

    @property
    def prefect_home(self) -> Path:
        return self.home / "prefect"

    @property
    def secrets(self) -> Path:
        """0700: the server's authentication string and the key that encrypts blocks."""
        return self.home / "secrets"

    @property
    def run(self) -> Path:
        """What is running now: the server's address and process, locks, logs."""
        return self.home / "run"


def load_settings() -> Settings:
    """`MODELSHELF_HOME` (default `~/.modelshelf`), its `config.toml`, and `MODELSHELF_CATALOG_URL` before that."""
    home = _home()
    config = _read(home / "config.toml")
    return Settings(
        home=home,
        catalog_url=os.environ.get("MODELSHELF_CATALOG_URL") or config.get("catalog_url") or default_catalog(home),
        llamacpp_server=config.get("llamacpp_server"),
        cgroup=Path(config["cgroup"]) if config.get("cgroup") else None,
        node_name=NodeName(config.get("node", "local")),
        region=config.get("region", "local"),
        licenses=tuple(config.get("licenses", ())),
        filesystems=_filesystems(config.get("filesystems", {}), config.get("region", "local"), home / "config.toml"),
    )


def _home() -> Path:
    named = os.environ.get("MODELSHELF_HOME")
    try:
        home = Path(named or Path.home() / ".modelshelf").expanduser().absolute()
    except RuntimeError as error:  # no such user, or a user without a home
        raise BadSetting(where=f"MODELSHELF_HOME ({named or 'not set'})", reason=str(error)) from error
    if "?" in str(home):
        raise BadSetting(
            where=home, reason="a `?` ends the path in the catalog's address; name another folder with MODELSHELF_HOME"
        )
    return home


def default_catalog(home: Path) -> str:
    """The catalog of a library on one machine."""
    return f"sqlite:///{home / 'catalog.db'}"


def private_folder(path: Path) -> Path:
    """The folder, made if need be, for its owner alone."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
    return path


def _read(file: Path) -> dict[str, Any]:
    try:
        config = tomllib.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except NotADirectoryError as error:
        raise BadSetting(where=file.parent, reason="it is a file, and MODELSHELF_HOME must be a folder") from error
    except OSError as error:
        raise BadSetting(where=file, reason=f"it cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadSetting(where=file, reason=str(error)) from error
    for key, value in config.items():
        if key == "workers":
            raise BadSetting(where=file, reason="`workers` has no meaning any more: a worker executes every run; remove the line")
        if key not in _KEYS:
            raise BadSetting(where=file, reason=f"unknown setting {key!r}; known settings are {', '.join(sorted(_KEYS))}")
        if not isinstance(value, _KEYS[key]) or (isinstance(value, list) and not all(isinstance(one, str) for one in value)):
            raise BadSetting(where=file, reason=f"{key!r} must be {_SAID[_KEYS[key]]}")
    return config


def _filesystems(said: dict[str, Any], region: str, file: Path) -> dict[str, Filesystem]:
    """`[filesystems.NAME]` with `path`, and `region` where it is not this machine's."""
    found = {}
    for name, one in said.items():
        FilesystemName(name)
        known = isinstance(one, dict) and one.keys() <= {"path", "region"} and all(isinstance(text, str) for text in one.values())
        if not known or not Path(one.get("path", "")).is_absolute():
            raise BadSetting(where=file, reason=f"[filesystems.{name}] needs an absolute `path`, and takes a `region`, as texts")
        found[name] = Filesystem(Path(one["path"]), one.get("region", region))
    return found
