"""Addresses that people copy from a browser, spelled as the URIs of sources. Nothing is asked."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from urllib.parse import parse_qs, unquote, urlsplit

from modelshelf.errors import BadSource
from modelshelf.formats.weights import WEIGHT_SUFFIXES, suffix_of

_HUB = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_OLLAMA = frozenset({"ollama.com", "www.ollama.com", "ollama.ai", "registry.ollama.ai"})
_NO_MODELS = frozenset({"datasets", "spaces", "collections", "papers", "docs", "blog", "models", "organizations", "settings"})
_OF_A_FILE = frozenset({"blob", "resolve", "raw", "blame"})
_OF_A_REVISION = frozenset({"tree", "commit", "commits"})
_PAGES = _OF_A_FILE | _OF_A_REVISION | {"discussions", "edit", "upload", "settings", "activity", "community"}


def is_address(text: str) -> bool:
    """Return whether the text names one of the sites, with or without `https://`."""
    return _host(text) in _HUB | _OLLAMA


def spelled_as_uri(text: str) -> str:
    """Return `hf://…` or `ollama://…` for the address of a model's page there; for another page raise BadSource."""
    split = urlsplit(text if "://" in text else f"https://{text}")
    parts = [unquote(part) for part in split.path.split("/") if part]
    if _host(text) in _OLLAMA:
        if len(parts) < 2 or parts[2:3] not in ([], ["tags"], ["blobs"]):
            raise BadSource(text=repr(text)[:100], reason="it is not the page of a model")
        return f"ollama://{'/'.join(parts[:2]).removeprefix('library/')}"
    if parts[:2] == ["api", "models"]:
        parts = parts[2:]
    if not parts or parts[0] in _NO_MODELS:
        raise BadSource(text=repr(text)[:100], reason="it is not the page of a model")
    length = 1 if len(parts) == 1 or parts[1] in _PAGES else 2
    repo, rest = "/".join(parts[:length]), parts[length:]
    shown = parse_qs(split.query).get("show_file_info", [""])[0]
    return _hub_uri(text, repo, rest, shown)


def _hub_uri(text: str, repo: str, rest: Sequence[str], shown: str) -> str:
    page = rest[0] if rest else ""
    revision, inside = "main", ""
    if page in _OF_A_FILE | _OF_A_REVISION and len(rest) > 1:
        length = 3 if rest[1] == "refs" else 1
        revision, inside = "/".join(rest[1 : 1 + length]), "/".join(rest[1 + length :])
    at = "" if revision == "main" else f"@{revision}"
    if page == "tree" and inside:
        command = f"modelshelf import {shlex.quote(f'hf://{repo}{at}')} --include {shlex.quote(f'{inside}/*')}"
        raise BadSource(text=repr(text)[:100], reason=f"it is a folder in a repository, which `{command}` takes alone")
    file = inside if page in _OF_A_FILE else shown
    return f"hf://{repo}{at}" + (f":{file}" if suffix_of(file) in WEIGHT_SUFFIXES else "")


def _host(text: str) -> str:
    scheme, found, rest = text.partition("://")
    if found and scheme.lower() not in ("http", "https"):
        return ""
    return (rest if found else text).partition("/")[0].partition("?")[0].lower()
