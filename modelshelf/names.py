"""Names that cannot be wrong: text from outside is parsed into one of these, or refused.

No name here can become a path outside its folder, a second shell word, or a second line in a label.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, get_args

from modelshelf.digest import Digest
from modelshelf.errors import BadName, BadReference, CollidingFileNames, HostileFileName
from modelshelf.limits import DEFAULT

Category = Literal["chat", "embedding", "reranker", "image", "audio", "video"]
"""What a model is used for."""
ASKED_BY = "modelshelf.asked-by"
"""The label of a run that names the person whose command asked for it."""
CATEGORIES: tuple[str, ...] = get_args(Category)


@dataclass(frozen=True, order=True, slots=True)
class Name:
    """Text that matches its kind's pattern; the base of each name below."""

    text: str

    kind: ClassVar[str] = "name"
    expected: ClassVar[str] = "a name"
    pattern: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or self.pattern.fullmatch(self.text) is None or ".." in self.text:
            raise BadName(text=repr(self.text)[:100], kind=self.kind, expected=self.expected)

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(text)

    def __str__(self) -> str:
        return self.text


_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)
_SLUG_SAYS = "1 to 64 lower-case letters, digits, `.`, `_` or `-`, beginning and ending with a letter or digit"


class ModelName(Name):
    """What a project calls a model. One path component of an OCI repository (distribution specification, "name")."""

    kind = "model name"
    expected = _SLUG_SAYS
    pattern = _SLUG


class ProjectName(Name):
    kind = "project name"
    expected = _SLUG_SAYS
    pattern = _SLUG


class NodeName(Name):
    kind = "node name"
    expected = _SLUG_SAYS
    pattern = _SLUG


class InstanceName(Name):
    kind = "instance name"
    expected = _SLUG_SAYS
    pattern = _SLUG


class TemplateName(Name):
    kind = "template name"
    expected = _SLUG_SAYS
    pattern = _SLUG


class FilesystemName(Name):
    kind = "filesystem name"
    expected = _SLUG_SAYS
    pattern = _SLUG


_TAG_LETTERS = 119
"""A version's name is its tag and nine letters of its pin: 128 together."""


class Tag(Name):
    """A version's name or an alias. Source: OCI distribution specification, "tag"."""

    kind = "tag"
    expected = "1 to 128 letters, digits, `_`, `.` or `-`, not beginning with `.` or `-`"
    pattern = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)


def tag_for(*parts: str) -> Tag:
    """Return the tag that stands for names of a source which are no tags: a revision, a quantisation, a file.

    `/` becomes `-`; any other letter that a tag cannot have becomes `_x2B_`, its code in hex, so that two names never share a
    tag by it (after ISO 9075-14, "Mapping SQL identifiers to XML names"). A tag that would be too long ends with a digest.
    """
    spelled = "-".join(parts).replace("/", "-")
    escaped = re.sub(r"_(?=x[0-9A-F]{2})", "_x5F_", spelled)
    tag = re.sub(
        r"[^A-Za-z0-9._-]", lambda found: "".join(f"_x{byte:02X}_" for byte in found[0].encode()), escaped, flags=re.ASCII
    )
    tag = re.sub(r"^[.-]", lambda found: f"_x{ord(found[0]):02X}_", tag).replace("..", "._x2E_")
    if len(tag) > _TAG_LETTERS:
        tag = f"{tag[: _TAG_LETTERS - 9]}-{Digest.of(spelled.encode()).short[:8]}"
    return Tag(tag)


class ServedName(Name):
    """What a request to an instance calls the model."""

    kind = "served name"
    expected = "1 to 200 letters, digits, `.`, `_`, `-`, `:` or `/`, beginning with a letter or digit"
    pattern = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}", re.ASCII)


class Revision(Name):
    """A branch, tag or commit of a Hub repository, as someone asked for it."""

    kind = "revision"
    expected = "a branch, tag or commit: up to 200 letters, digits, `.`, `_`, `-`, `+`, `=`, `@` or `/`"
    pattern = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/+=@-]{0,198}[A-Za-z0-9_+=-])?", re.ASCII)


class RegistryTag(Name):
    """A tag as a registry of models spells it. Some write build metadata (`1.0+cu12`), which a version's name cannot have."""

    kind = "tag of a registry"
    expected = "1 to 128 letters, digits, `_`, `.`, `+` or `-`, not beginning with `.`, `+` or `-`"
    pattern = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}", re.ASCII)


class CommitId(Name):
    """A commit of a git repository, whole."""

    kind = "commit"
    expected = "40 lower-case hex digits"
    pattern = re.compile(r"[0-9a-f]{40}", re.ASCII)


_REPO_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"


class RepoId(Name):
    """`org/repo` on the Hub, or `repo` alone for its oldest models (`gpt2`). Source: `validate_repo_id` of huggingface_hub."""

    kind = "repository"
    expected = "`org/repo` or `repo`, each 1 to 96 letters, digits, `.`, `_` or `-`, with no `--`"
    pattern = re.compile(rf"(?!.*--)(?:{_REPO_PART}/)?{_REPO_PART}(?<!\.git)", re.ASCII)


class HostName(Name):
    """`host` or `host:port`, a literal IPv6 address in brackets."""

    kind = "host"
    expected = "`host` or `host:port`"
    pattern = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9a-fA-F:]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)


def _reserved_device(stem: str) -> bool:
    """Names that Windows gives to devices, with any extension."""
    return re.fullmatch(r"(?i:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])", stem.split(".", maxsplit=1)[0].rstrip()) is not None


@dataclass(frozen=True, order=True, slots=True)
class FilePath:
    """A file's path within a model: relative, `/` between parts, safe to write on every platform."""

    text: str

    def __post_init__(self) -> None:
        text = self.text
        if not isinstance(text, str) or not text:
            raise HostileFileName(text=repr(text)[:100], reason="it is empty")
        if len(text.encode("utf-8", "surrogatepass")) > DEFAULT.path_bytes:
            raise HostileFileName(text=repr(text[:60]) + "…", reason=f"it is longer than {DEFAULT.path_bytes} bytes")
        if reason := self._why_hostile(text):
            raise HostileFileName(text=repr(text)[:200], reason=reason)

    @staticmethod
    def _why_hostile(text: str) -> str | None:
        if any(unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} for letter in text):
            return "it has a control, format or lone surrogate character"
        if "\\" in text or ":" in text:
            return "`\\` and `:` are separators on some systems"
        if any(letter in text for letter in '<>"|?*'):
            return 'none of < > " | ? * may be in a file name on every system'
        for part in text.split("/"):
            if part in {"", ".", ".."}:
                return "it is absolute, or has an empty, `.` or `..` part"
            if part[-1] in ". " or part[0] == " ":
                return "a part begins with a space, or ends with a dot or a space"
            if _reserved_device(part):
                return "a part is a reserved device name"
            if len(part.encode()) > 255:
                return "a part is longer than 255 bytes"
        return None

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(text)

    @property
    def name(self) -> str:
        return self.text.rsplit("/", 1)[-1]

    @property
    def suffix(self) -> str:
        """The extension, lower-case, with its dot; empty if there is none."""
        stem, dot, extension = self.name.rpartition(".")
        return f".{extension.lower()}" if dot and stem else ""

    @property
    def folded(self) -> str:
        """The same for every path that a case- or form-insensitive file system would take for this one."""
        return unicodedata.normalize("NFC", unicodedata.normalize("NFC", self.text).casefold())

    def __str__(self) -> str:
        return self.text


def pattern_of(name: str) -> str:
    """Return the shell pattern that matches this name alone, quoted for a shell; `?` stands for what cannot be typed."""
    escaped = "".join(f"[{letter}]" if letter in "*?[" else letter if letter.isprintable() else "?" for letter in name)
    return shlex.quote(escaped)


def refuse_colliding(paths: Iterable[FilePath]) -> None:
    """Raise CollidingFileNames if two paths are one file, or one is a folder of the other, on some system."""
    seen: dict[str, FilePath] = {}
    folders: dict[str, FilePath] = {}
    for path in paths:
        if (other := seen.get(path.folded) or folders.get(path.folded)) is not None:
            raise CollidingFileNames(first=other, second=path, pattern=pattern_of(path.text))
        seen[path.folded] = path
        parts = path.folded.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if (other := seen.get(folder)) is not None:
                raise CollidingFileNames(first=other, second=path, pattern=pattern_of(path.text))
            folders.setdefault(folder, path)


@dataclass(frozen=True, order=True, slots=True)
class ModelRef:
    """How a person names a version: `model`, `model:tag`, `model@sha256:…`, `model:tag@sha256:…`, `project/…`.

    `tag` is a version's name or an alias; `image` is the digest of its model data image.
    """

    model: ModelName
    tag: Tag | None = None
    image: Digest | None = None
    project: ProjectName | None = None

    @classmethod
    def of_version(cls, owner: ProjectName, model: ModelName, name: Tag) -> Self:
        """Return how people name a version: with its project, unless that is the default one."""
        return cls(model, name, project=None if owner.text == "default" else owner)

    @classmethod
    def parse(cls, text: str) -> Self:
        head, at, digest = text.partition("@")
        owner, slash, rest = head.rpartition("/")
        model, colon, tag = rest.partition(":")
        if (at and not digest) or (slash and not owner) or (colon and not tag) or not model:
            raise BadReference(text=repr(text)[:100])
        return cls(
            ModelName(model),
            (tag_for(tag) if "+" in tag else Tag(tag)) if tag else None,
            Digest.parse(digest) if digest else None,
            ProjectName(owner) if owner else None,
        )

    def __str__(self) -> str:
        project = f"{self.project}/" if self.project else ""
        tag = f":{self.tag}" if self.tag else ""
        image = f"@{self.image}" if self.image else ""
        return f"{project}{self.model}{tag}{image}"
