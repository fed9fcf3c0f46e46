"""Repositories of the Hugging Face Hub, or of another endpoint that speaks as it does.

`huggingface_hub` gives metadata, revision and gating. The bytes come through `transfer`: files in LFS are proven by
their sha256, files in git by their git object id.
"""

from __future__ import annotations

import fnmatch
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
    AccessDenied,
    ChooseQuantization,
    LimitExceeded,
    NotFound,
    NothingToImport,
    ServerTrouble,
    TooBusy,
    UnexpectedAnswer,
    UnknownQuantization,
    Unreachable,
)
from modelshelf.formats.allowed import PICKLED_WEIGHTS, belongs_to_model, role_of
from modelshelf.formats.kinds import Format
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import CommitId, FilePath, ModelName, Tag, refuse_colliding
from modelshelf.sources.contract import Listing, Pin, SourceFile
from modelshelf.sources.fetch import Wanted
from modelshelf.sources.uri import HuggingFaceUri
from modelshelf.stop import StopToken
from modelshelf.transfer import Remote
from modelshelf.wire import Authorization, Url, Wire

_QUANTIZATION = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q[0-9](?:_[0-9A-Z]+)*|TQ[0-9](?:_[0-9]+)?|MXFP4(?:_MOE)?|BF16|FP?16|FP?32))(?=[-._/]|$)",
    re.IGNORECASE,
)
_SHARD = re.compile(r"-[0-9]{5}-of-[0-9]{5}(?=\.)")


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
        trusted_hosts: frozenset[str] = frozenset(),
        limits: Limits = DEFAULT,
    ) -> None:
        self._asked = uri
        self.model: ModelName = uri.model
        self.uri = str(uri)
        self.wire = Wire(trusted_hosts=trusted_hosts, limits=limits)
        self._endpoint = Url(endpoint.rstrip("/"))
        self._authorization = Authorization.bearer(token) if token else None
        self._api = HfApi(endpoint=self._endpoint.text, token=token or False, library_name="modelshelf")
        self._include, self._exclude, self._limits = tuple(include), tuple(exclude), limits

    def pin(self, stop: StopToken) -> Pin:
        revision = str(self._asked.revision)
        commit = CommitId(str(self._info(revision, stop, files=False).sha))
        named = revision.replace("/", "-") if revision != commit.text else "commit"
        if self._asked.quantization is not None:
            named = self._asked.quantization if named == "main" else f"{named}-{self._asked.quantization}"
        return Pin(Tag(named), commit.text)

    def list_files(self, pin: Pin, stop: StopToken) -> Listing:
        info = self._info(pin.resolved, stop, files=True)
        if info.sha != pin.resolved:
            reason = f"asked for commit {pin.resolved[:12]}, it describes {str(info.sha)[:12]}"
            raise UnexpectedAnswer(host=self._endpoint.place, what=self._asked.repo, reason=reason)
        siblings = info.siblings or []
        if len(siblings) > self._limits.files:
            raise LimitExceeded(what=self._asked.repo, found=f"{len(siblings)} files", limit=self._limits.files)
        listed = {FilePath(sibling.rfilename): sibling for sibling in siblings}
        refuse_colliding(listed)
        paths, left_out = self._choose(listed)
        files = tuple(self._file(path, listed[path], pin.resolved) for path in sorted(paths))
        if not files:
            detail = " that matches the patterns" if self._include or self._exclude else ""
            raise NothingToImport(what=self._asked.repo, detail=detail)
        suffixes = {file.path.suffix for file in files}
        if not suffixes & {".gguf", ".safetensors"}:
            raise NothingToImport(what=self._asked.repo, detail=": neither GGUF nor safetensors weights are among its files")
        license_ = (info.card_data or {}).get("license")
        return Listing(
            Format.GGUF if ".gguf" in suffixes else Format.SAFETENSORS,
            files,
            license=license_ if isinstance(license_, str) else None,
            left_out=tuple(left_out),
        )

    def authorization(self, stop: StopToken) -> Authorization | None:
        return self._authorization

    def _choose(self, listed: dict[FilePath, Any]) -> tuple[list[FilePath], list[str]]:
        """Which files make the model: the patterns, then one quantisation, then no pickle beside safetensors."""
        left_out: list[str] = []
        paths = [path for path in listed if belongs_to_model(path) and self._matches(path)]
        weights = [path for path in paths if path.suffix == ".gguf"]
        if weights:
            chosen = self._choose_quantization({path: int(listed[path].size or 0) for path in weights})
            others = [path for path in paths if path.suffix in PICKLED_WEIGHTS | {".gguf", ".safetensors"} and path not in chosen]
        elif any(path.suffix == ".safetensors" for path in paths):
            others = [path for path in paths if path.suffix in PICKLED_WEIGHTS or path.name.endswith(".bin.index.json")]
        else:
            others = []
        left_out += [f"{path}: another form of the weights" for path in others]
        return [path for path in paths if path not in others], left_out

    def _choose_quantization(self, weights: dict[FilePath, int]) -> set[FilePath]:
        companions = {path for path in weights if "mmproj" in path.name.lower()}
        groups: dict[str, set[FilePath]] = {}
        for path in weights.keys() - companions:
            found = _QUANTIZATION.findall(_SHARD.sub("", str(path)))
            groups.setdefault(found[-1].upper() if found else path.name, set()).add(path)
        wanted = self._asked.quantization
        choices = ", ".join(f"{name} ({sum(weights[path] for path in group):,} bytes)" for name, group in sorted(groups.items()))
        if wanted is not None:
            if wanted.upper() not in groups:
                raise UnknownQuantization(what=self._asked.repo, wanted=wanted, choices=choices or "none")
            return groups[wanted.upper()] | companions
        if len(groups) > 1:
            example = f"hf://{self._asked.repo}:{min(groups)}"
            raise ChooseQuantization(what=self._asked.repo, choices=choices, example=example)
        return set(weights)

    def _matches(self, path: FilePath) -> bool:
        included = not self._include or any(fnmatch.fnmatchcase(str(path), pattern) for pattern in self._include)
        return included and not any(fnmatch.fnmatchcase(str(path), pattern) for pattern in self._exclude)

    def _file(self, path: FilePath, sibling: Any, commit: str) -> SourceFile:
        role = role_of(path)
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
            url=Url(f"{self._endpoint.text}/{self._asked.repo}/resolve/{commit}/{escaped}"),
            size=size,
            login="huggingface",
        )
        return SourceFile(path, role, Wanted(path, remote, digest, oid))

    def _info(self, revision: str, stop: StopToken, *, files: bool) -> Any:
        """The Hub's description of the repository, its troubles in our words."""
        host, what = self._endpoint.place, f"{self._asked.repo} at {revision}"
        stop.check()
        try:
            return self._api.model_info(
                str(self._asked.repo), revision=revision, files_metadata=files, timeout=self._limits.api_seconds
            )
        except GatedRepoError as error:
            detail = ": it is gated"
            raise AccessDenied(host=host, what=what, status=403, detail=detail, login="huggingface") from error
        except (RepositoryNotFoundError, RevisionNotFoundError) as error:
            status = error.response.status_code
            if status in (401, 403):
                detail = ": it is private, or not there"
                raise AccessDenied(host=host, what=what, status=status, detail=detail, login="huggingface") from error
            raise NotFound(host=host, what=what, status=status) from error
        except HfHubHTTPError as error:
            raise self._trouble(error, host, what) from error
        except httpx2.HTTPError as error:
            raise Unreachable(host=host, reason=str(error)[:200] or type(error).__name__) from error

    def _trouble(self, error: HfHubHTTPError, host: str, what: str) -> Exception:
        status = error.response.status_code
        if status == 429:
            seconds = error.response.headers.get("retry-after", "?")
            return TooBusy(host=host, status=status, seconds=seconds, limit=self._limits.retry_after_seconds)
        if status in (401, 403):
            return AccessDenied(host=host, what=what, status=status, detail="", login="huggingface")
        if status >= 500:
            return ServerTrouble(host=host, status=status, what=what, detail="")
        return UnexpectedAnswer(host=host, what=what, reason=f"status {status}")
