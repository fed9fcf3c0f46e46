"""Repositories of the Hugging Face Hub, or of another endpoint that speaks as it does.

`huggingface_hub` gives metadata, revision and gating. The bytes come through `transfer`: files in LFS are proven by
their sha256, files in git by their git object id.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from modelshelf.digest import Digest
from modelshelf.errors import (
    DigestMismatch,
    LimitExceeded,
    LoginNeeded,
    NotFound,
    ServerTrouble,
    TooBusy,
    UnexpectedAnswer,
    Unreachable,
)
from modelshelf.formats.kinds import Role
from modelshelf.formats.weights import unsharded, without_suffix
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import CommitId, FilePath, ModelName, tag_for
from modelshelf.sources.asking import Asked
from modelshelf.sources.bearer import StaticLogin
from modelshelf.sources.choosing import choose
from modelshelf.sources.contract import Listing, Pin, SourceFile
from modelshelf.sources.fetch import Wanted
from modelshelf.sources.uri import HuggingFaceUri
from modelshelf.stop import StopToken
from modelshelf.transfer import Remote, prove_git_object
from modelshelf.wire import Authorization, Url, Wire


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
        self._api = HfApi(endpoint=self._endpoint.text, token=token or False, library_name="modelshelf")
        self._limits = limits

    def pin(self, stop: StopToken) -> Pin:
        revision = str(self._revision)
        commit = CommitId(str(self._info(revision, stop, files=False).sha))
        named = [] if revision == "main" else [revision if revision != commit.text else "commit"]
        if self._asked.wanted is not None:
            named.append(without_suffix(unsharded(self._asked.wanted)))
        return Pin(tag_for(*(named or ["main"])), commit.text)

    def list_files(self, pin: Pin, stop: StopToken) -> Listing:
        info = self._info(pin.resolved, stop, files=True)
        if info.sha != pin.resolved:
            reason = f"asked for commit {pin.resolved[:12]}, it describes {str(info.sha)[:12]}"
            raise UnexpectedAnswer(host=self._endpoint.place, what=self._repo, reason=reason)
        siblings = info.siblings or []
        if len(siblings) > self._limits.files:
            raise LimitExceeded(what=self._repo, found=f"{len(siblings)} files", limit=self._limits.files)
        listed = {str(sibling.rfilename): sibling for sibling in siblings}
        sizes = {name: int(sibling.size or 0) for name, sibling in listed.items()}

        def read(name: str) -> bytes:
            return self._read(self._file(FilePath(name), Role.CONFIG, listed[name], pin.resolved), stop)

        chosen = choose(sizes, self._asked, read, self._limits)
        files = tuple(self._file(path, role, listed[path.text], pin.resolved) for path, role in chosen.roles.items())
        license_ = (info.card_data or {}).get("license")
        return Listing(
            chosen.format,
            files,
            license=license_ if isinstance(license_, str) else None,
            left_out=chosen.left_out,
        )

    def _read(self, file: SourceFile, stop: StopToken) -> bytes:
        """Return the content of a small file, proven as every file is."""
        remote, limit = file.wanted.remote, self._limits.api_body_bytes
        assert isinstance(remote, Remote)
        if remote.size > limit:
            raise LimitExceeded(what=remote.what, found=f"{remote.size:,} bytes", limit=f"{limit:,} bytes")
        answer = self.wire.request("GET", remote.url, authorization=self.login.current, at_most=limit, stop=stop)
        content = answer.expect(200, what=remote.what, login=remote.login).body
        if file.wanted.git_oid is not None:
            prove_git_object(content, oid=file.wanted.git_oid, what=remote.what, whose=remote.whose)
        elif (found := Digest.of(content)) != file.digest:
            raise DigestMismatch(what=remote.what, whose=remote.whose, expected=file.digest, found=found, size=len(content))
        return content

    def _file(self, path: FilePath, role: Role, sibling: Any, commit: str) -> SourceFile:
        size = sibling.size
        if not isinstance(size, int) or not 0 <= size <= self._limits.file_bytes:
            raise UnexpectedAnswer(host=self._endpoint.place, what=path, reason=f"it lists a size of {size!r}")
        digest = Digest(str(sibling.lfs.sha256)) if sibling.lfs else None
        oid = None if digest else str(sibling.blob_id)
        if oid is not None and re.fullmatch(r"[0-9a-f]{40}", oid) is None:
            raise UnexpectedAnswer(host=self._endpoint.place, what=path, reason=f"its git object id is {oid[:50]!r}")
        escaped = re.sub(r"[^A-Za-z0-9._/-]", lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), str(path))
        remote = Remote(
            what=str(path),
            whose="the Hub",
            url=Url(f"{self._endpoint.text}/{self._repo}/resolve/{commit}/{escaped}"),
            size=size,
            login="huggingface",
        )
        return SourceFile(path, role, Wanted(path, remote, digest, oid))

    def _info(self, revision: str, stop: StopToken, *, files: bool) -> Any:
        """The Hub's description of the repository, its troubles in our words."""
        host, what = self._endpoint.place, f"{self._repo} at {revision}"
        stop.check()
        try:
            return self._api.model_info(
                str(self._repo), revision=revision, files_metadata=files, timeout=self._limits.api_seconds
            )
        except GatedRepoError as error:
            detail = ": it is gated"
            raise LoginNeeded(host=host, what=what, status=403, detail=detail, login="huggingface") from error
        except (RepositoryNotFoundError, RevisionNotFoundError) as error:
            status = error.response.status_code
            if status in (401, 403):
                detail = ": it is private, or not there"
                raise LoginNeeded(host=host, what=what, status=status, detail=detail, login="huggingface") from error
            raise NotFound(host=host, what=what, status=status) from error
        except HfHubHTTPError as error:
            raise self._trouble(error, host, what) from error
        except httpx2.HTTPError as error:
            raise Unreachable(host=host, how="", reason=str(error)[:200] or type(error).__name__) from error

    def _trouble(self, error: HfHubHTTPError, host: str, what: str) -> Exception:
        status = error.response.status_code
        if status == 429:
            seconds = error.response.headers.get("retry-after", "?")
            return TooBusy(host=host, status=status, seconds=seconds, limit=self._limits.retry_after_seconds)
        if status in (401, 403):
            return LoginNeeded(host=host, what=what, status=status, detail="", login="huggingface")
        if status >= 500:
            return ServerTrouble(host=host, status=status, what=what, detail="")
        return UnexpectedAnswer(host=host, what=what, reason=f"status {status}")
