"""What a person does, as functions of a library and texts, for children that die or stop on the way (`tests.interrupted`)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from flows.change_version import Change, change_version
from flows.define_template import define_template, delete_template
from flows.import_folder import import_folder
from flows.launch_instance import launch_instance
from flows.recover_instance import recover_instance
from flows.refill_replica import refill_replica
from flows.register_filesystem import register_filesystem
from flows.restart_instance import restart_instance
from flows.save_from_instance import save_from_instance
from flows.stop_instance import stop_instance
from flows.switch_instance import switch_instance
from flows.warm_up import warm_up as warm_up_flow
from modelshelf.catalog.stale import Policy
from modelshelf.library import auditing, building, caching, cleaning, deleting
from modelshelf.library.opening import Library
from modelshelf.names import ModelRef
from modelshelf.settings import Filesystem, Settings
from modelshelf.sources.ollama import OllamaSource
from modelshelf.sources.uri import OllamaName, OllamaUri
from modelshelf.stop import StopToken
from tasks.library import working_on
from tests.making import SMALL, P, bring_in


def library_at(home: Path) -> Library:
    """The library in this home; its engine is the program `llama-server` beside it, its filesystem the folder `shared`."""
    program = home.parent / "llama-server"
    return Library.open(
        Settings(
            home,
            f"sqlite:///{home / 'catalog.db'}",
            llamacpp_server=str(program) if program.exists() else None,
            filesystems={"shared": Filesystem(home.parent / "shared", "local")},
        )
    )


def bring(library: Library, host: str, model: str = "tiny:1b") -> None:
    source = OllamaSource(OllamaUri(OllamaName.parse(f"{host}/library/{model}")), plain_http=True, limits=SMALL)
    bring_in(library, source)


def bring_next(library: Library, host: str) -> None:
    bring(library, host, "tiny:2b")


def copy_folder(library: Library, _host: str) -> None:
    with working_on(library, "child"):
        asyncio.run(import_folder.fn(path=str(library.settings.home.parent / "shared" / "mine")))


def register(library: Library, _host: str) -> None:
    with working_on(library, "child"):
        asyncio.run(register_filesystem.fn(filesystem="shared", folder="mine", hash=True))


def save(library: Library, _host: str) -> None:
    with working_on(library, "child"):
        asyncio.run(save_from_instance.fn(instance="keeper", model="pirate:v1"))


def change(library: Library, model: str, what: Change, alias: str = "", category: Any = "") -> None:
    with working_on(library, "child"):
        asyncio.run(change_version.fn(model=model, change=what, alias=alias, category=category))


def promote_first(library: Library, _host: str) -> None:
    change(library, "tiny:1b", "promote", "stable")


def promote(library: Library, _host: str) -> None:
    change(library, "tiny:2b", "promote", "stable")


def roll_back(library: Library, _host: str) -> None:
    """As the command `alias --back` asks for it: with the version that it found."""
    change(library, "tiny:1b", "roll-back", "stable")


def unalias(library: Library, _host: str) -> None:
    change(library, "tiny", "unalias", "stable")


def disable(library: Library, _host: str) -> None:
    change(library, "tiny:1b", "disable")


def enable(library: Library, _host: str) -> None:
    change(library, "tiny:1b", "enable")


def categorise(library: Library, _host: str) -> None:
    change(library, "tiny", "category", category="embedding")


def pin(library: Library, _host: str) -> None:
    change(library, "tiny:1b", "pin")


def unpin(library: Library, _host: str) -> None:
    change(library, "tiny:1b", "unpin")


def auto_cache(library: Library, _host: str) -> None:
    change(library, "tiny:1b", "auto-cache")


def no_auto_cache(library: Library, _host: str) -> None:
    change(library, "tiny:1b", "no-auto-cache")


def warm_up(library: Library, _host: str) -> None:
    with working_on(library, "child"):
        asyncio.run(warm_up_flow.fn())


def define(library: Library, _host: str, cpus: int = 0) -> None:
    with working_on(library, "child"):
        asyncio.run(define_template.fn(template="bot", models=["tiny:1b"], engine="llamacpp", cpus=cpus))


def define_again(library: Library, _host: str) -> None:
    """A second revision."""
    define(library, "", cpus=1)


def remove_template(library: Library, _host: str) -> None:
    with working_on(library, "child"):
        asyncio.run(delete_template.fn(template="bot"))


def cache(library: Library, _host: str, model: str = "tiny") -> None:
    caching.fill(library, P, caching.resolve_ready(library, P, ModelRef.parse(model)), StopToken())


def evict(library: Library, _host: str, model: str = "tiny") -> None:
    caching.evict(library, P, ModelRef.parse(model), who="test")


def delete(library: Library, _host: str, model: str = "tiny") -> None:
    deleting.delete_version(library, P, ModelRef.parse(model), who="child")


def clean(library: Library, _host: str) -> None:
    cleaning.clean(library, P, cleaning.plan_clean(library, P, Policy(keep=0, days=0)), StopToken(), who="child")


def launch(library: Library, _host: str, model: str = "tiny:1b") -> None:
    with working_on(library, "child"):
        asyncio.run(launch_instance.fn(model=model, instance="chat", engine="llamacpp"))


def switch(library: Library, _host: str) -> None:
    with working_on(library, "child"):
        asyncio.run(switch_instance.fn(instance="chat", model="tiny:2b"))


def switch_back(library: Library, _host: str) -> None:
    """As the command `switch --back` asks for it: with the revision that it found."""
    with working_on(library, "child"):
        asyncio.run(switch_instance.fn(instance="chat", back=True, revision=1))


def forget(library: Library, _host: str) -> None:
    with working_on(library, "child"):
        asyncio.run(switch_instance.fn(instance="chat", forget=True))


def stop(library: Library, _host: str) -> None:
    with working_on(library, "child"):
        asyncio.run(stop_instance.fn(instance="chat"))


def restart(library: Library, _host: str) -> None:
    with working_on(library, "child"):
        asyncio.run(restart_instance.fn(instance="chat"))


def recover(library: Library, _host: str) -> None:
    with working_on(library, "child"):
        asyncio.run(recover_instance.fn(instance="chat"))


def refill(library: Library, _host: str) -> None:
    with working_on(library, "child"):
        asyncio.run(refill_replica.fn(model="tiny:1b"))


def remove_instance(library: Library, _host: str) -> None:
    with working_on(library, "child"):
        asyncio.run(stop_instance.fn(instance="chat", delete=True))


def repair(library: Library, _host: str) -> None:
    auditing.audit(library, StopToken(), rehash="all", repair=True, who="child", grace_seconds=0)


def discard(library: Library, _host: str) -> None:
    library.store.discard_abandoned(0)


def build(library: Library, _host: str, to: str, model: str = "tiny") -> None:
    building.build(library, P, building.plan_build(library, P, ModelRef.parse(model), Path(to)), StopToken())
