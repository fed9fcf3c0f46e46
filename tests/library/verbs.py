"""What a person does, as functions of a library and texts, for children that die or stop on the way (`tests.interrupted`)."""

from __future__ import annotations

from pathlib import Path

from modelshelf.catalog.stale import Policy
from modelshelf.library import auditing, building, caching, cleaning, deleting
from modelshelf.library.opening import Library
from modelshelf.names import ModelRef
from modelshelf.settings import Settings
from modelshelf.sources.ollama import OllamaSource
from modelshelf.sources.uri import OllamaName, OllamaUri
from modelshelf.stop import StopToken
from tests.making import SMALL, P, bring_in


def library_at(home: Path) -> Library:
    return Library.open(Settings(home, f"sqlite:///{home / 'catalog.db'}"))


def bring(library: Library, host: str, model: str = "tiny") -> None:
    source = OllamaSource(OllamaUri(OllamaName.parse(f"{host}/library/{model}:1b")), plain_http=True, limits=SMALL)
    bring_in(library, source)


def cache(library: Library, _host: str, model: str = "tiny") -> None:
    caching.fill(library, P, caching.resolve_ready(library, P, ModelRef.parse(model)), StopToken())


def evict(library: Library, _host: str, model: str = "tiny") -> None:
    caching.evict(library, P, ModelRef.parse(model))


def delete(library: Library, _host: str, model: str = "tiny") -> None:
    deleting.delete_version(library, P, ModelRef.parse(model), who="child")


def clean(library: Library, _host: str) -> None:
    cleaning.clean(library, P, cleaning.plan_clean(library, P, Policy(keep=0, days=0)), StopToken(), who="child")


def repair(library: Library, _host: str) -> None:
    auditing.audit(library, StopToken(), rehash="all", repair=True, who="child", grace_seconds=0)


def discard(library: Library, _host: str) -> None:
    library.store.discard_abandoned(0)


def build(library: Library, _host: str, to: str, model: str = "tiny") -> None:
    building.build(library, P, building.plan_build(library, P, ModelRef.parse(model), Path(to)), StopToken())
