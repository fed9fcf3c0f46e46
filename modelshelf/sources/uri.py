"""The written form of a source, parsed: `ollama://…`, `hf://…`, `file:///…`, `fs://…` and `instance://…`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from modelshelf.errors import BadName, BadSource, HostileFileName
from modelshelf.formats.weights import WEIGHT_SUFFIXES, suffix_of, unsharded, without_suffix
from modelshelf.names import FilePath, FilesystemName, HostName, InstanceName, ModelName, RegistryTag, RepoId, Revision
from modelshelf.sources.addresses import is_address, spelled_as_uri

_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", re.ASCII)
_QUANTIZATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", re.ASCII)


def _is_part(text: str) -> bool:
    """Return whether the text can name a part of a source: a quantisation, or a file of weights."""
    if suffix_of(text) not in WEIGHT_SUFFIXES:
        return _QUANTIZATION.fullmatch(text) is not None
    try:
        FilePath(text)
    except HostileFileName:
        return False
    return True


@dataclass(frozen=True, slots=True)
class OllamaName:
    """A model in a registry as Ollama names it: `[host/][namespace/]name[:tag]`.

    Defaults as in `ollama pull`: host `registry.ollama.ai`, namespace `library`, tag `latest`. The namespace may have
    several parts only where the host is written too (`hf.co/org/repo:Q4_K_M`).
    """

    name: str
    tag: RegistryTag = RegistryTag("latest")  # noqa: RUF009 - a frozen value
    namespace: str = "library"
    host: HostName = HostName("registry.ollama.ai")  # noqa: RUF009 - a frozen value

    @classmethod
    def parse(cls, text: str) -> Self:
        if text.startswith(("http://", "https://", "ollama.com/", "www.ollama.com/")) and is_address(text):
            text = spelled_as_uri(text).removeprefix("ollama://")
        *front, last = text.split("/")
        name, colon, tag = last.partition(":")
        if len(front) > 3 or (colon and not tag):
            raise BadSource(text=repr(text)[:100], reason="it is not `[host/][namespace/]name[:tag]`")
        host = front.pop(0) if len(front) > 1 else None
        for part in [*front, name]:
            if _COMPONENT.fullmatch(part) is None or ".." in part:
                raise BadSource(text=repr(text)[:100], reason=f"{part!r} is not a part of a model's name")
        try:
            return cls(
                name,
                RegistryTag(tag or "latest"),
                "/".join(front) or "library",
                HostName(host) if host is not None else HostName("registry.ollama.ai"),
            )
        except BadName as error:
            raise BadSource(text=repr(text)[:100], reason=str(error)) from error

    @property
    def repository(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def in_registry(self) -> str:
        """What the registry itself calls the model, for a message that names the host already."""
        return f"{self.name if self.namespace == 'library' else self.repository}:{self.tag}"

    def __str__(self) -> str:
        """As short as `ollama list` prints it."""
        shown = self.name if self.namespace == "library" else self.repository
        if self.host.text != "registry.ollama.ai":
            shown = f"{self.host}/{self.repository}"
        return f"{shown}:{self.tag}"


@dataclass(frozen=True, slots=True)
class OllamaUri:
    """`ollama://[host/][namespace/]name[:tag]`"""

    name: OllamaName

    @property
    def model(self) -> ModelName:
        """The name that the library gives it unless told otherwise."""
        return ModelName(_slug(self.name.name))

    def __str__(self) -> str:
        return f"ollama://{self.name}"


@dataclass(frozen=True, slots=True)
class HuggingFaceUri:
    """`hf://org/repo[@revision][:quantisation]`; without a revision, the branch `main`.

    After the colon a file of weights may be named too: `hf://org/repo:model-Q4_K_M.gguf`.
    """

    repo: RepoId
    revision: Revision = Revision("main")  # noqa: RUF009 - a frozen value
    quantization: str | None = None

    @property
    def model(self) -> ModelName:
        return ModelName(_slug(self.repo.text.rpartition("/")[2]))

    @classmethod
    def parse(cls, text: str) -> Self:
        rest, colon, quantization = text.partition(":")
        repo, at, revision = rest.partition("@")
        if (colon and not _is_part(quantization)) or (at and not revision):
            raise BadSource(text=repr(f"hf://{text}")[:100], reason="it is not `hf://org/repo[@revision][:quantisation]`")
        try:
            return cls(RepoId(repo), Revision(revision) if at else Revision("main"), quantization or None)
        except BadName as error:
            raise BadSource(text=repr(f"hf://{text}")[:100], reason=str(error)) from error

    @classmethod
    def of(cls, repo: str, revision: str, quantization: str) -> Self:
        """Return the repository that a form's fields name. `repo` may be an address; what the other fields say wins over it."""
        if is_address(repo):
            found = cls.parse(spelled_as_uri(repo).removeprefix("hf://"))
            at = found.revision if revision == "main" else Revision(revision)
            return cls(found.repo, at, quantization or found.quantization)
        return cls(RepoId(repo), Revision(revision), quantization or None)

    def __str__(self) -> str:
        at = "" if self.revision.text == "main" else f"@{self.revision}"
        return f"hf://{self.repo}{at}" + (f":{self.quantization}" if self.quantization else "")


@dataclass(frozen=True, slots=True)
class FolderUri:
    """`file:///path[:quantisation]`: a folder, or one file, on the machine where the flow runs.

    A folder whose own name ends so is found by that name: only who can look decides (`FolderSource`).
    """

    path: Path
    quantization: str | None = None

    @property
    def model(self) -> ModelName:
        return ModelName(_slug(without_suffix(unsharded(self.path.name))))

    @classmethod
    def parse(cls, text: str) -> Self:
        front, colon, part = text.rpartition(":")
        whole = not (colon and front and _is_part(part))
        path = Path(text if whole else front)
        if not path.is_absolute() or ".." in path.parts or "\0" in text:
            raise BadSource(text=repr(f"file://{text}")[:100], reason="it is not `file:///absolute/path`")
        return cls(path, None if whole else part)

    def __str__(self) -> str:
        return f"file://{self.path}" + (f":{self.quantization}" if self.quantization else "")


@dataclass(frozen=True, slots=True)
class FilesystemUri:
    """`fs://filesystem/sub/folder[:quantisation]`: a folder of a shared filesystem that the configuration names."""

    filesystem: FilesystemName
    folder: FilePath
    quantization: str | None = None

    @property
    def model(self) -> ModelName:
        return ModelName(_slug(self.folder.name))

    @classmethod
    def parse(cls, text: str) -> Self:
        filesystem, _, rest = text.partition("/")
        folder, colon, part = rest.partition(":")
        if colon and not _is_part(part):
            raise BadSource(text=repr(f"fs://{text}")[:100], reason="it is not `fs://filesystem/sub/folder[:quantisation]`")
        try:
            return cls(FilesystemName(filesystem), FilePath(folder.rstrip("/")), part or None)
        except (BadName, HostileFileName) as error:
            raise BadSource(text=repr(f"fs://{text}")[:100], reason=f"it is not `fs://filesystem/sub/folder`: {error}") from error

    def __str__(self) -> str:
        return f"fs://{self.filesystem}/{self.folder}" + (f":{self.quantization}" if self.quantization else "")


@dataclass(frozen=True, slots=True)
class InstanceUri:
    """`instance://name/model[:tag]`: a model inside an instance that runs here."""

    instance: InstanceName
    name: OllamaName

    @property
    def model(self) -> ModelName:
        return ModelName(_slug(self.name.name))

    @classmethod
    def parse(cls, text: str) -> Self:
        instance, slash, name = text.partition("/")
        if not slash:
            raise BadSource(text=repr(f"instance://{text}")[:100], reason="it is not `instance://name/model[:tag]`")
        return cls(InstanceName(instance), OllamaName.parse(name))

    def __str__(self) -> str:
        return f"instance://{self.instance}/{self.name}"


SourceUri = OllamaUri | HuggingFaceUri | FolderUri | FilesystemUri | InstanceUri


def parse_source(text: str) -> SourceUri:
    """Return the source that a URI, or the address of a model's page, names. Raises BadSource."""
    if is_address(text):
        text = spelled_as_uri(text)
    scheme, found, rest = text.partition("://")
    if not found:
        raise BadSource(text=repr(text)[:100], reason="it has no `scheme://`")
    match scheme:
        case "ollama":
            return OllamaUri(OllamaName.parse(rest))
        case "hf":
            return HuggingFaceUri.parse(rest)
        case "file":
            return FolderUri.parse(rest)
        case "fs":
            return FilesystemUri.parse(rest)
        case "instance":
            return InstanceUri.parse(rest)
    raise BadSource(text=repr(text)[:100], reason=f"no source is called {scheme!r}")


def _slug(text: str) -> str:
    """The nearest model name: lower-case, everything else kept or replaced by `-`."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", text.lower())[:64].strip("._-")
    return re.sub(r"\.{2,}", ".", slug)
