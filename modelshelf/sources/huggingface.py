"""Repositories of the Hugging Face Hub, or of another endpoint that speaks as it does.

`huggingface_hub` gives metadata, revision and gating. The bytes come through `transfer`: files in LFS are proven by
their sha256, files in git by their git object id.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from modelshelf.digest import Digest
from modelshelf.errors import (
    DigestMismatch,
    HostileFileName,
    LimitExceeded,
    NotFound,
    UnexpectedAnswer,
)
from modelshelf.formats.kinds import Role
from modelshelf.formats.weights import unsharded, without_suffix
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import CommitId, FilePath, ModelName, tag_for
from modelshelf.sources.asking import Asked
from modelshelf.sources.bearer import StaticLogin
from modelshelf.sources.choosing import choose
from modelshelf.sources.contract import Listing, Pin, SourceFile
from modelshelf.sources.fetch import Wanted, prove_git_object
from modelshelf.sources.hub_client import HubClient, license_of
from modelshelf.sources.uri import HuggingFaceUri
from modelshelf.stop import StopToken
from modelshelf.transfer.download import Remote
from modelshelf.wire import Authorization, Url, Wire


@dataclass(frozen=True, slots=True)
class _Listed:
    """What the endpoint tells of one file before it is fetched, as it came: its size in bytes, and what proves it."""

    size: object
    sha256: str | None
    git_oid: str | None


class HuggingFaceSource:
    """One repository at one revision; `include` and `exclude` are shell patterns over its paths."""

    def __init__(
        self,
        uri: HuggingFaceUri,
        *,
        endpoint: str = "https://huggingface.co",
        token: str = "",
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        allow_code: bool = False,
        trusted_hosts: frozenset[str] = frozenset(),
        limits: Limits = DEFAULT,
    ) -> None:
        self._asked = Asked(uri, tuple(include), tuple(exclude), allow_code)
        self._repo, self._revision = uri.repo, uri.revision
        self.model: ModelName = uri.model
        self.uri = str(uri)
        self.wire = Wire(trusted_hosts=trusted_hosts, limits=limits)
        self._endpoint = Url(endpoint.rstrip("/"))
        self.login = StaticLogin(Authorization.bearer(token) if token else None)
        self._hub = HubClient(self._endpoint, self.wire, self.login, limits)
        self._limits = limits

    def pin(self, stop: StopToken) -> Pin:
        revision = str(self._revision)
        commit = CommitId(str(self._hub.model_info(self._repo, revision, stop, files=False).sha))
        named = [] if revision == "main" else [revision if revision != commit.text else "commit"]
        if self._asked.wanted is not None:
            named.append(without_suffix(unsharded(self._asked.wanted)))
        return Pin(tag_for(*(named or ["main"])), commit.text)

    def list_files(self, pin: Pin, stop: StopToken) -> Listing:
        info = self._hub.model_info(self._repo, pin.resolved, stop, files=True)
        if info.sha != pin.resolved:
            reason = f"asked for commit {pin.resolved[:12]}, it describes {str(info.sha)[:12]}"
            raise UnexpectedAnswer(host=self._endpoint.place, what=self._repo, reason=reason)
        siblings = info.siblings or []
        if len(siblings) > self._limits.files:
            raise LimitExceeded(what=self._repo, found=f"{len(siblings)} files", limit=self._limits.files)
        listed = {str(sibling.rfilename): _listed(sibling) for sibling in siblings}
        if len(listed) != len(siblings):
            raise UnexpectedAnswer(host=self._endpoint.place, what=self._repo, reason="it lists a file twice")
        if any(file.size is None for file in listed.values()):
            listed = self._listed_otherwise(listed, CommitId(pin.resolved), stop)
        sizes = {name: file.size if isinstance(file.size, int) else 0 for name, file in listed.items()}

        def read(name: str) -> bytes:
            path = FilePath(name)
            return self._read(self._remote(path, listed[name], pin.resolved), _proof(listed[name]), stop)

        chosen = choose(sizes, self._asked, read, self._limits)
        files = tuple(self._file(path, role, listed[path.text], pin.resolved) for path, role in chosen.roles.items())
        return Listing(
            chosen.format,
            files,
            license=license_of(info),
            left_out=chosen.left_out,
        )

    def _read(self, remote: Remote, proof: tuple[Digest | None, str | None], stop: StopToken) -> bytes:
        """Return the content of a small file, proven as every file is: by its digest, or by its git object id."""
        limit, (digest, oid) = self._limits.api_body_bytes, proof
        if remote.size > limit:
            raise LimitExceeded(what=remote.what, found=f"{remote.size:,} bytes", limit=f"{limit:,} bytes")
        answer = self.wire.ask("GET", remote.url, login=self.login, at_most=limit, stop=stop)
        content = answer.expect(200, what=remote.what, login=remote.login).body
        if oid is not None:
            prove_git_object(content, oid=oid, what=remote.what, whose=remote.whose)
        elif digest is not None and (found := Digest.of(content)) != digest:
            raise DigestMismatch(what=remote.what, whose=remote.whose, expected=digest, found=found, size=len(content))
        return content

    def _file(self, path: FilePath, role: Role, listed: _Listed, commit: str) -> SourceFile:
        remote = self._remote(path, listed, commit)
        return SourceFile(path, role, Wanted(path, remote, *_proof(listed)))

    def _remote(self, path: FilePath, listed: _Listed, commit: str) -> Remote:
        size, oid = listed.size, listed.git_oid
        if type(size) is not int or not 0 <= size <= self._limits.file_bytes:
            raise UnexpectedAnswer(host=self._endpoint.place, what=path, reason=f"it lists a size of {str(size)[:50]!r}")
        if oid is not None and re.fullmatch(r"[0-9a-f]{40}", oid) is None:
            raise UnexpectedAnswer(host=self._endpoint.place, what=path, reason=f"its git object id is {oid[:50]!r}")
        return Remote(what=str(path), whose="the Hub", url=self._address(path, commit), size=size, login="huggingface")

    def _address(self, path: FilePath, commit: str) -> Url:
        escaped = re.sub(r"[^A-Za-z0-9._/-]", lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), str(path))
        return Url(f"{self._endpoint.text}/{self._repo}/resolve/{commit}/{escaped}")

    def _listed_otherwise(self, names: Collection[str], commit: CommitId, stop: StopToken) -> dict[str, _Listed]:
        """For a mirror that describes files without sizes: from its tree, else by asking for the head of each."""
        try:
            tree = {file.path: _listed(file) for file in self._hub.tree(self._repo, commit, stop)}
        except NotFound:
            return {name: self._head_of(name, commit, stop) for name in names if self._asked.takes(name)}
        if missing := [name for name in names if name not in tree]:
            reason = f"its tree lacks {missing[0][:100]!r}, which its description lists"
            raise UnexpectedAnswer(host=self._endpoint.place, what=self._repo, reason=reason)
        return {name: tree[name] for name in names}

    def _head_of(self, name: str, commit: CommitId, stop: StopToken) -> _Listed:
        """From the headers that the Hub sends with a file or with the redirect to it; nothing of a file whose name is hostile."""
        try:
            path = FilePath(name)
        except HostileFileName:  # refused if it is taken
            return _Listed(None, None, None)
        url = self._address(path, str(commit))
        answer = self.wire.ask("HEAD", url, login=self.login, follow=False, stop=stop)
        if answer.status >= 300 and "x-linked-size" not in answer.headers:
            answer = self.wire.ask("HEAD", url, login=self.login, stop=stop).expect(200, what=str(path), login="huggingface")
        size = answer.headers.get("x-linked-size", answer.headers.get("content-length", ""))
        etag = answer.headers.get("x-linked-etag", answer.headers.get("etag", "")).removeprefix("W/").strip('"')
        return _Listed(
            int(size) if re.fullmatch(r"[0-9]{1,19}", size) else size,
            etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None,
            etag if re.fullmatch(r"[0-9a-f]{40}", etag) else None,
        )


def _proof(listed: _Listed) -> tuple[Digest | None, str | None]:
    """What decides whether the file's bytes are the right ones: a digest, or a git object id."""
    return Digest(listed.sha256) if listed.sha256 is not None else None, listed.git_oid


def _listed(file: Any) -> _Listed:
    """What the Hub's client read of one file: a sibling of the description, or an entry of the tree."""
    return _Listed(file.size, str(file.lfs.sha256) if file.lfs else None, None if file.lfs else str(file.blob_id))
