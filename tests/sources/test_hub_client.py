"""The Hub's own client, asked by hubs that lie: its requests obey the same guard and bounds as every other."""

from __future__ import annotations

import gzip
import json
import resource
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler

import pytest
from huggingface_hub import HfApi

from modelshelf.digest import Digest
from modelshelf.errors import (
    BadJson,
    HostileFileNames,
    LimitExceeded,
    ModelshelfError,
    RedirectRefused,
    ServerTrouble,
    TooBusy,
    UnexpectedAnswer,
)
from modelshelf.library.opening import Library
from modelshelf.limits import MiB
from modelshelf.names import CommitId
from modelshelf.stop import Stopped, StopToken
from tests.making import SMALL, bring_in, hub_source, safetensors
from tests.stand_ins.hub import Hub

STOP = StopToken()
FILES = {"config.json": b"{}", "README.md": b"# hello", "model.safetensors": safetensors(), "1_Pooling/config.json": b"{}"}


@pytest.fixture
def model(hub: Hub) -> Hub:
    hub.repo("org/model").commit(FILES)
    return hub


def answering(hub: Hub, status: int, body: bytes, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda request: hub.send(request, status, body, **headers)


# --- where it may go ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["http://169.254.169.254/latest", "http://10.0.0.1/", "http://[fd00::1]/"])
def test_metadata_is_not_fetched_from_inside_our_network(model: Hub, inside: str) -> None:
    model.api_answer = answering(model, 302, b"", Location=inside)
    with pytest.raises(RedirectRefused, match="private network"):
        hub_source(model, "org/model").pin(STOP)


def test_a_loop_of_redirects_ends_after_five(model: Hub) -> None:
    model.api_answer = lambda request: model.send(request, 302, b"", Location=request.path)
    with pytest.raises(RedirectRefused, match="number 6"):
        hub_source(model, "org/model").pin(STOP)
    assert len(model.requests) == 6


def test_the_token_is_not_shown_to_whom_the_metadata_is_redirected(model: Hub) -> None:
    with Hub() as other:
        commit = other.repo("org/model").commit(FILES)
        model.api_answer = lambda request: model.send(request, 307, b"", Location=f"{other.url}{request.path}")
        assert hub_source(model, "org/model", token="canary").pin(STOP).resolved == commit
        assert model.requests[0][2]["Authorization"] == "Bearer canary"
        assert all("Authorization" not in headers for _, _, headers in other.requests)


def test_the_next_page_is_held_to_what_a_redirect_may_be(model: Hub) -> None:
    model.lists_sizes = False
    source = hub_source(model, "org/model", token="canary")
    pin = source.pin(STOP)
    model.page_links = ["http://169.254.169.254/latest"]
    with pytest.raises(RedirectRefused, match="private network"):
        source.list_files(pin, STOP)
    with Hub() as other:
        model.page_links = [f"{other.url}/api/models/org/model/tree/{pin.resolved}"]
        other.api_answer = answering(other, 200, b"[]")
        with pytest.raises(UnexpectedAnswer, match="its tree lacks"):
            source.list_files(pin, STOP)
        assert other.asked("/tree/") == 1
        assert "Authorization" not in other.requests[0][2]


def test_a_page_that_another_server_names_is_not_asked_with_the_token(model: Hub) -> None:
    model.lists_sizes = False
    source = hub_source(model, "org/model", token="canary")
    pin = source.pin(STOP)
    with Hub() as other:
        link = f'<{model.url}/api/models/org/private/tree/main>; rel="next"'
        other.api_answer = lambda request: other.send(request, 200, b"[]", Link=link)
        model.page_links = [f"{other.url}/api/models/org/model/tree/{pin.resolved}"]
        with pytest.raises(ModelshelfError):
            source.list_files(pin, STOP)
    (shown,) = [headers for _, path, headers in model.requests if "/private/" in path]
    assert "Authorization" not in shown


def test_nothing_leaves_by_another_door(model: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary")
    with pytest.raises(Exception, match="no source asks"):
        HfApi(endpoint=model.url).model_info("org/model")
    hub_source(model, "org/model").pin(STOP)
    assert all("Authorization" not in headers for _, _, headers in model.requests)


# --- how much is taken --------------------------------------------------------------------------------------------


def test_a_small_answer_that_unpacks_to_a_large_one_is_refused(model: Hub) -> None:
    bomb = gzip.compress(b" " * 300 * MiB)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model.api_answer = answering(model, 200, bomb, Content_Encoding="gzip")
    with pytest.raises(UnexpectedAnswer, match="gzip-encoded"):
        hub_source(model, "org/model").pin(STOP)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 100 * MiB


def test_an_answer_beyond_the_bound_is_refused(model: Hub) -> None:
    model.api_answer = answering(model, 200, b" " * 2 * MiB)
    with pytest.raises(LimitExceeded):
        hub_source(model, "org/model", replace(SMALL, api_body_bytes=1 * MiB)).pin(STOP)


def test_pages_without_end_are_refused(model: Hub) -> None:
    model.lists_sizes = False
    source = hub_source(model, "org/model", replace(SMALL, api_pages=10))
    pin = source.pin(STOP)
    model.page_links = [f"{model.url}/api/models/org/model/tree/{pin.resolved}?cursor=100"]
    with pytest.raises(LimitExceeded, match="pages"):
        source.list_files(pin, STOP)
    assert model.asked("/tree/") == 10


ODD: list[tuple[bytes, type[ModelshelfError]]] = [
    (b"", BadJson),
    (b"<html>", BadJson),
    (b"[" * 100_000, BadJson),
    (b"[]", UnexpectedAnswer),
    (b'"text"', UnexpectedAnswer),
    (b"{}", UnexpectedAnswer),
    (b'{"id":"org/model","siblings":[{"lfs":7}]}', UnexpectedAnswer),
    (b'{"id":"org/model","siblings":7}', UnexpectedAnswer),
    (b'{"id":"org/model","sha":"a","sha":"b"}', BadJson),
    (b'{"id":"org/model","lastModified":"yesterday"}', UnexpectedAnswer),
    (b'{"id":"org/model","cardData":{"self":1}}', UnexpectedAnswer),
]


@pytest.mark.parametrize(("body", "error"), ODD, ids=lambda value: repr(value)[:40])
def test_metadata_that_is_none_is_an_error_of_ours(model: Hub, body: bytes, error: type[ModelshelfError]) -> None:
    model.api_answer = answering(model, 200, body)
    with pytest.raises(error):
        hub_source(model, "org/model").pin(STOP)


@pytest.mark.parametrize("status", [200, 201, 203, 206])
def test_an_answer_is_bounded_whatever_its_status_of_success_is(model: Hub, status: int) -> None:
    model.api_answer = answering(model, status, b'{"a":' + b"[" * 100_000)
    with pytest.raises(BadJson):
        hub_source(model, "org/model").pin(STOP)


def test_a_file_that_is_listed_twice_is_an_error(model: Hub) -> None:
    source = hub_source(model, "org/model")
    pin = source.pin(STOP)
    entry = {"rfilename": "model.safetensors", "size": 1, "blobId": "0" * 40}
    body = {"id": "org/model", "sha": pin.resolved, "siblings": [entry, {**entry, "size": 2}]}
    model.api_answer = answering(model, 200, json.dumps(body).encode())
    with pytest.raises(UnexpectedAnswer, match="twice"):
        source.list_files(pin, STOP)


@pytest.mark.parametrize("size", [-1, True, 1.5, "7", 10**29, [1]])
def test_a_size_that_is_none_is_an_error(model: Hub, size: object) -> None:
    source = hub_source(model, "org/model")
    pin = source.pin(STOP)
    entry = {"rfilename": "model.safetensors", "size": size, "lfs": {"sha256": "0" * 64, "size": 1, "pointerSize": 1}}
    body = {"id": "org/model", "sha": pin.resolved, "siblings": [entry]}
    model.api_answer = answering(model, 200, json.dumps(body).encode())
    with pytest.raises(UnexpectedAnswer, match="size"):
        source.list_files(pin, STOP)


def test_a_licence_of_the_hub_is_one_short_line(model: Hub) -> None:
    model.repo("org/model").license = "mit\x1b[31m\u202e\n" + "x" * 10_000
    source = hub_source(model, "org/model")
    license = source.list_files(source.pin(STOP), STOP).license
    assert license is not None
    assert license.startswith("mit\\x1b[31m")
    assert len(license) == 80


@pytest.mark.parametrize("card", [True, 7, "mit", ["mit"], {"license": ["mit"]}, {"license": {"a": 1}}, {"license": ""}])
def test_a_card_that_names_no_licence_in_the_usual_way_names_none(model: Hub, card: object) -> None:
    source = hub_source(model, "org/model")
    pin = source.pin(STOP)
    entry = {"rfilename": "model.safetensors", "size": 1, "blobId": "0" * 40}
    body = {"id": "org/model", "sha": pin.resolved, "siblings": [entry], "cardData": card}
    model.api_answer = answering(model, 200, json.dumps(body).encode())
    assert source.list_files(pin, STOP).license is None


def test_half_a_letter_in_a_card_is_no_matter_and_in_a_name_is_refused(model: Hub) -> None:
    """A card's example texts are cut off anywhere, also within an emoji."""
    source = hub_source(model, "org/model")
    pin = source.pin(STOP)
    entry = {"rfilename": "model.safetensors", "size": 1, "blobId": "0" * 40}
    card = {"license": "mit\ud83d", "widget": [{"text": "\ud83d"}]}
    body = {"id": "org/model", "sha": pin.resolved, "siblings": [entry], "cardData": card}
    model.api_answer = answering(model, 200, json.dumps(body).encode())
    assert source.list_files(pin, STOP).license == "mit\\ud83d"
    body["siblings"] = [{**entry, "rfilename": "\ud83d.safetensors"}]
    model.api_answer = answering(model, 200, json.dumps(body).encode())
    with pytest.raises(HostileFileNames):
        source.list_files(pin, STOP)


def test_a_header_in_another_encoding_is_no_matter(model: Hub) -> None:
    commit = model.repo("org/model").branches["main"]
    body = b'{"id":"org/model","sha":"%s","siblings":[]}' % commit.encode()
    model.api_answer = answering(model, 200, body, X_Served_By="\xe9\xff")
    assert hub_source(model, "org/model").pin(STOP).resolved == commit


# --- how long is waited -------------------------------------------------------------------------------------------


def test_a_rate_limit_is_waited_for_in_the_hubs_own_words(model: Hub) -> None:
    left = [2]

    def busy(request: BaseHTTPRequestHandler) -> None:
        left[0] -= 1
        model.api_answer = busy if left[0] else None
        model.send(request, 429, b"", RateLimit='"api";r=0;t=0')

    model.api_answer = busy
    assert hub_source(model, "org/model").pin(STOP).resolved
    assert model.asked("/api/models") == 3


def test_a_rate_limit_beyond_ours_is_an_error_that_names_it(model: Hub) -> None:
    model.api_answer = answering(model, 429, b"", RateLimit='"api";r=0;t=300')
    with pytest.raises(TooBusy, match="300 s"):
        hub_source(model, "org/model").pin(STOP)
    assert len(model.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_in_trouble_is_tried_again_by_the_run_and_not_by_its_client(model: Hub, status: int) -> None:
    model.lists_sizes = False
    source = hub_source(model, "org/model")
    pin = source.pin(STOP)
    model.api_answer = lambda request: model.send(request, status, b"")
    before = len(model.requests)
    with pytest.raises(ServerTrouble):
        source._hub.tree(source._repo, CommitId(pin.resolved), STOP)
    assert len(model.requests) == before + 1


def test_a_run_that_is_stopped_asks_no_more(model: Hub) -> None:
    stop = StopToken()
    stop.set()
    with pytest.raises(Stopped):
        hub_source(model, "org/model").pin(stop)


# --- mirrors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_tree", [True, False])
def test_a_mirror_that_lists_no_sizes_is_imported_all_the_same(hub: Hub, library: Library, has_tree: bool) -> None:
    hub.repo("org/model").commit(FILES)
    hub.lists_sizes, hub.has_tree = False, has_tree
    source = hub_source(hub, "org/model")
    listing = source.list_files(source.pin(STOP), STOP)
    assert {str(file.path): file.size for file in listing.files} == {path: len(content) for path, content in FILES.items()}
    weights = next(file for file in listing.files if str(file.path) == "model.safetensors")
    assert weights.digest == Digest.of(FILES["model.safetensors"])
    version, _ = bring_in(library, source)
    assert version.state == "ready"
    assert hub.asked("/resolve/", "HEAD") == (0 if has_tree else 2 * len(FILES))  # listed here and by the import


def test_a_mirror_is_not_asked_for_the_head_of_what_is_not_taken(hub: Hub) -> None:
    """A name that no file may have is left out, or refused by the message that tells how to leave it out."""
    hub.repo("org/model").commit({**FILES, "a:b.png": b"x", "c:d.h5": b"x"})
    hub.lists_sizes = hub.has_tree = False
    source = hub_source(hub, "org/model", exclude=("*.png",))
    listing = source.list_files(source.pin(STOP), STOP)
    assert {str(file.path) for file in listing.files} == set(FILES)
    assert hub.asked(":", "HEAD") == 0
    with pytest.raises(HostileFileNames, match=r"a:b\.png"):
        hub_source(hub, "org/model").list_files(source.pin(STOP), STOP)
