"""The Hub's own client, `huggingface_hub`, whose requests leave through the wire like every other.

The client knows the Hub's answers and errors; the wire decides which hosts are reached, who sees the token, and how much is
taken. The client of a process is one for all: which source asks is known by a context variable, and without one nothing leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import httpx2
from huggingface_hub import HfApi, ModelCardData, set_client_factory
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import ModelInfo, RepoFile

from modelshelf.errors import LimitExceeded, LoginNeeded, NotFound, UnexpectedAnswer
from modelshelf.limits import Limits
from modelshelf.names import CommitId, RepoId
from modelshelf.stop import StopToken
from modelshelf.strict_json import load_json
from modelshelf.wire import Answer, Login, Url, Wire
from modelshelf.words import plain

_LICENSE_LETTERS = 80
"""The Hub's identifiers of licences are shorter (Hub documentation, "Licenses")."""
_LOGIN = "huggingface"
_KEPT = {"accept", "user-agent"}
"""Headers of the client that are passed on. What is shown to whom is not its decision."""
_READ = {"link", "content-type", "x-error-code", "x-error-message", "x-request-id", "x-repo-commit"}
"""Headers of an answer that the client reads."""


def license_of(info: ModelInfo) -> str | None:
    """Return the licence that the repository's card names, in at most 80 letters; None if it names none, or not one alone."""
    named = info.card_data.get("license") if isinstance(info.card_data, ModelCardData) else None
    return plain(named)[:_LICENSE_LETTERS] if isinstance(named, str) and named else None


class HubClient:
    """Metadata of repositories at one endpoint."""

    def __init__(self, endpoint: Url, wire: Wire, login: Login, limits: Limits) -> None:
        self._endpoint, self._wire, self._login, self._limits = endpoint, wire, login, limits
        self._api = HfApi(endpoint=endpoint.text, token=False, library_name="modelshelf")

    def model_info(self, repo: RepoId, revision: str, stop: StopToken, *, files: bool) -> ModelInfo:
        """The description of a revision, with its files if `files`; what a mirror omits of a file is None."""
        with self._asking(f"{repo} at {revision}", stop):
            return self._api.model_info(str(repo), revision=revision, files_metadata=files)

    def tree(self, repo: RepoId, commit: CommitId, stop: StopToken) -> list[RepoFile]:
        """Every file of a commit with its size, page after page. Raises NotFound where the endpoint has no such list."""
        found: list[RepoFile] = []
        with self._asking(f"the files of {repo}", stop):
            for entry in self._api.list_repo_tree(str(repo), recursive=True, revision=str(commit)):
                if isinstance(entry, RepoFile):
                    found.append(entry)
                if len(found) > self._limits.files:
                    raise LimitExceeded(what=repo, found=f"more than {self._limits.files} files", limit=self._limits.files)
        return found

    @contextmanager
    def _asking(self, what: str, stop: StopToken) -> Iterator[None]:
        """Requests of the Hub's client are ours within, and its errors become ours."""
        host = self._endpoint.place
        token = _asking.set(_Asking(self._endpoint, self._wire, self._login, self._limits, what, stop))
        try:
            yield
        except GatedRepoError as error:
            status = error.response.status_code
            raise LoginNeeded(host=host, what=what, status=status, detail=": it is gated", login=_LOGIN) from error
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status in (401, 403):
                hidden = isinstance(error, RepositoryNotFoundError)  # the Hub's answer for both
                detail = ": it is private or does not exist" if hidden else ""
                raise LoginNeeded(host=host, what=what, status=status, detail=detail, login=_LOGIN) from error
            if status in (404, 410):
                raise NotFound(host=host, what=what, status=status) from error
            raise UnexpectedAnswer(host=host, what=what, reason=f"status {status}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"the Hub's client cannot read it ({type(error).__name__}: {error})"[:200]
            raise UnexpectedAnswer(host=host, what=what, reason=reason) from error
        finally:
            _asking.reset(token)


class _Asking:
    """One question to one endpoint: a few requests, each decided by the wire."""

    def __init__(self, endpoint: Url, wire: Wire, login: Login, limits: Limits, what: str, stop: StopToken) -> None:
        self._endpoint, self._wire, self._login, self._limits = endpoint, wire, login, limits
        self._what, self._stop = what, stop
        self._requests = 0
        self._last: Answer | None = None

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self._requests += 1
        if self._requests > self._limits.api_pages:
            raise LimitExceeded(what=self._what, found=f"more than {self._limits.api_pages} pages", limit=self._limits.api_pages)
        url = Url(str(request.url))
        ours = url.origin == self._endpoint.origin
        named_by_us = self._last is None or self._last.url.origin == self._endpoint.origin
        if request.method != "GET" or not (ours or self._last is not None):
            raise UnexpectedAnswer(host=url.place, what=self._what, reason=f"the Hub's client would {request.method} {url}")
        answer = self._wire.ask(
            "GET",
            url,
            login=self._login if ours and named_by_us else None,
            headers={name: value for name, value in request.headers.items() if name.lower() in _KEPT},
            named_by=self._last,  # the next page is named by the one before
            stop=self._stop,
        )
        self._last = answer
        if answer.status in (408, 425, 429) or answer.status >= 500:
            answer.expect(200, what=self._what)  # ours to try again: the client would sleep where no stop reaches it
        if answer.status < 300:
            load_json(answer.body, file=f"the answer of {answer.url.place}", limits=self._limits, half_letters=True)
        headers = {name: answer.headers[name] for name in _READ & answer.headers.keys() if answer.headers[name].isascii()}
        return httpx2.Response(answer.status, headers=headers, content=answer.body, request=request)


class _Door(httpx2.BaseTransport):
    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if (asking := _asking.get()) is None:
            raise httpx2.UnsupportedProtocol(f"no source asks for {request.url.host}")
        return asking.answer(request)


_asking: ContextVar[_Asking | None] = ContextVar("asking", default=None)
set_client_factory(lambda: httpx2.Client(transport=_Door(), trust_env=False, follow_redirects=False, timeout=None))
