"""A Hugging Face Hub: the endpoints that `huggingface_hub` and our own downloads call."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote

from tests.stand_ins.http import Content, StandIn


@dataclass
class Repo:
    """One repository: commits, and branches that point to them."""

    commits: dict[str, dict[str, tuple[Content, bool]]] = field(default_factory=dict)
    """Files by commit: their content, and whether they lie in LFS."""
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    license: str | None = None

    def commit(
        self, files: dict[str, bytes | Path], branch: str = "main", lfs: tuple[str, ...] = (".safetensors", ".gguf", ".bin")
    ) -> str:
        """A new commit that holds these files; the branch points to it."""
        contents = {path: (Content(source), path.endswith(lfs)) for path, source in files.items()}
        said = "\n".join(f"{path} {content.size} {_sha256(content)}" for path, (content, _) in sorted(contents.items()))
        commit = hashlib.sha1(f"{len(self.commits)}\n{said}".encode()).hexdigest()
        self.commits[commit] = contents
        self.branches[branch] = commit
        return commit


class Hub(StandIn):
    def __init__(self) -> None:
        super().__init__()
        self.repos: dict[str, Repo] = {}
        self.token: str | None = None
        """Who shows it may read gated repositories."""
        self.redirect_lfs = True
        self.lists_sizes = True
        """A mirror may describe files by their names alone."""
        self.has_tree = True
        self.page_links: list[str] = []
        """Where the next page of the tree is, in place of the true one."""
        self.api_answer: Callable[[BaseHTTPRequestHandler], None] | None = None
        """Answers what is asked below `/api`, in place of us."""
        self.lying_digest: str | None = None
        """Listed instead of the true sha256."""

    def repo(self, name: str) -> Repo:
        return self.repos.setdefault(name, Repo())

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(request.path.partition("?")[0])
        if path.startswith("/api/") and self.api_answer is not None:
            return self.api_answer(request)
        if match := re.fullmatch(r"/api/models/([^/]+(?:/[^/]+)?)/tree/(.+)", path):
            return self._send_tree(request, match[1], match[2])
        if match := re.fullmatch(r"/api/models/([^/]+(?:/[^/]+)?)(?:/revision/(.+))?", path):
            return self._send_info(request, match[1], match[2] or "main")
        if match := re.fullmatch(r"/cdn/([^/]+(?:/[^/]+)?)/([0-9a-f]{40})/(.+)", path):
            return self._send_file(request, *match.groups())
        if match := re.fullmatch(r"/([^/]+(?:/[^/]+)?)/resolve/([^/]+)/(.+)", path):
            return self._resolve(request, *match.groups())
        return self.send(request, 404, b"{}")

    def _allowed(self, request: BaseHTTPRequestHandler, name: str, revision: str) -> str | None:
        """The commit; None if the answer was given: the repository is gone, gated, or has no such revision."""
        repo = self.repos.get(name)
        if repo is None:
            code = "RepoNotFound"
            self.send(
                request, 401, b'{"error":"Repository not found"}', X_Error_Code=code, X_Error_Message="Repository not found"
            )
            return None
        if repo.gated and (self.token is None or request.headers.get("Authorization") != f"Bearer {self.token}"):
            message = f"Access to model {name} is restricted."
            body = json.dumps({"error": message}).encode()
            self.send(
                request,
                403 if "Authorization" in request.headers else 401,
                body,
                X_Error_Code="GatedRepo",
                X_Error_Message=message,
            )
            return None
        commit = repo.branches.get(revision, revision)
        if commit not in repo.commits:
            self.send(request, 404, b"{}", X_Error_Code="RevisionNotFound", X_Error_Message=f"Invalid rev id: {revision}")
            return None
        return commit

    def _send_info(self, request: BaseHTTPRequestHandler, name: str, revision: str) -> None:
        if (commit := self._allowed(request, name, revision)) is None:
            return
        siblings = []
        for path, (content, lfs) in self.repos[name].commits[commit].items():
            entry: dict[str, object] = {"rfilename": path}
            if self.lists_sizes:
                entry |= {"size": content.size, "blobId": _git_oid(content)}
            if lfs and self.lists_sizes:
                entry["lfs"] = {"sha256": self.lying_digest or _sha256(content), "size": content.size, "pointerSize": 134}
            siblings.append(entry)
        repo = self.repos[name]
        body = {
            "_id": "0",
            "id": name,
            "modelId": name,
            "sha": commit,
            "private": False,
            "gated": "auto" if repo.gated else False,
        }
        card = {"cardData": {"license": repo.license}} if repo.license else {}
        self.send(request, 200, json.dumps({**body, **card, "tags": [], "siblings": siblings}).encode())

    def _send_tree(self, request: BaseHTTPRequestHandler, name: str, revision: str) -> None:
        """Two entries a page; the next page is named by a Link header."""
        if not self.has_tree:
            return self.send(request, 404, b"{}")
        if (commit := self._allowed(request, name, revision)) is None:
            return None
        query = parse_qs(request.path.partition("?")[2])
        start = int(query.get("cursor", ["0"])[0])
        entries: list[dict[str, object]] = [{"type": "directory", "path": "folder", "oid": "0" * 40, "size": 0}]
        for path, (content, lfs) in self.repos[name].commits[commit].items():
            entry: dict[str, object] = {"type": "file", "path": path, "size": content.size, "oid": _git_oid(content)}
            if lfs:
                entry["lfs"] = {"oid": _sha256(content), "size": content.size, "pointerSize": 134}
            entries.append(entry)
        following = f"{self.url}{request.path.partition('?')[0]}?recursive=true&cursor={start + 2}"
        links = self.page_links or ([following] if start + 2 < len(entries) else [])
        body = json.dumps(entries[start : start + 2]).encode()
        return self.send(request, 200, body, Link=[f'<{link}>; rel="next"' for link in links])

    def _resolve(self, request: BaseHTTPRequestHandler, name: str, revision: str, path: str) -> None:
        if (commit := self._allowed(request, name, revision)) is None:
            return None
        if path not in self.repos[name].commits[commit]:
            return self.send(request, 404, b"", X_Error_Code="EntryNotFound")
        content, lfs = self.repos[name].commits[commit][path]
        if lfs and self.redirect_lfs:
            headers = {"Location": f"http://localhost:{self.port}/cdn/{name}/{commit}/{quote(path)}", "X_Repo_Commit": commit}
            return self.send(request, 302, b"", X_Linked_Size=str(content.size), X_Linked_Etag=f'"{_sha256(content)}"', **headers)
        return self.send_content(request, content, etag=_git_oid(content))

    def _send_file(self, request: BaseHTTPRequestHandler, name: str, commit: str, path: str) -> None:
        content, _ = self.repos[name].commits[commit][path]
        return self.send_content(request, content, etag=_sha256(content))


_KNOWN: dict[Path, str] = {}


def _sha256(content: Content) -> str:
    if isinstance(content.source, bytes):
        return hashlib.sha256(content.source).hexdigest()
    if content.source not in _KNOWN:
        with content.source.open("rb") as file:
            _KNOWN[content.source] = hashlib.file_digest(file, "sha256").hexdigest()
    return _KNOWN[content.source]


def _git_oid(content: Content) -> str:
    whole = content.read(0, content.size)
    return hashlib.sha1(b"blob %d\0" % len(whole) + whole, usedforsecurity=False).hexdigest()
