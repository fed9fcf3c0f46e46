"""What a person does, as functions of a library and texts, for children that die or stop on the way (`tests.interrupted`)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from flows.launch_instance import launch_instance
from flows.restart_instance import restart_instance
from flows.stop_instance import stop_instance
from modelshelf.catalog.stale import Policy
from modelshelf.library import auditing, building, caching, cleaning, deleting
from modelshelf.library.opening import Library
from modelshelf.names import ModelRef
from modelshelf.settings import Settings
from modelshelf.sources.ollama import OllamaSource
from modelshelf.sources.uri import OllamaName, OllamaUri
from modelshelf.stop import StopToken
from tasks.library import working_on
from tests.making import SMALL, P, bring_in


def library_at(home: Path) -> Library:
    """The library in this home; its engine is the program `llama-server` beside it, if there is one."""
    program = home.parent / "llama-server"
    return Library.open(
        Settings(home, f"sqlite:///{home / 'catalog.db'}", llamacpp_server=str(program) if program.exists() else None)
    )


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


def launch(library: Library, _host: str, model: str = "tiny") -> None:
    with working_on(library, "child"):
        asyncio.run(launch_instance.fn(model=model, instance="chat", engine="llamacpp"))


def stop(library: Library, _host: str) -> None:
    with working_on(library, "child"):
        asyncio.run(stop_instance.fn(instance="chat"))


def restart(library: Library, _host: str) -> None:
    with working_on(library, "child"):
        asyncio.run(restart_instance.fn(instance="chat"))


def remove_instance(library: Library, _host: str) -> None:
    with working_on(library, "child"):
        asyncio.run(stop_instance.fn(instance="chat", delete=True))


def repair(library: Library, _host: str) -> None:
    auditing.audit(library, StopToken(), rehash="all", repair=True, who="child", grace_seconds=0)


def discard(library: Library, _host: str) -> None:
    library.store.discard_abandoned(0)


def build(library: Library, _host: str, to: str, model: str = "tiny") -> None:
    building.build(library, P, building.plan_build(library, P, ModelRef.parse(model), Path(to)), StopToken())
