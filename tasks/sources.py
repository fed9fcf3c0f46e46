"""Asking a publisher what it holds: pin once, then list what the pin holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pydantic import SecretStr

from blocks.hugging_face_hub import HuggingFaceHub
from blocks.ollama_registry import OllamaRegistry
from modelshelf.errors import BadSetting
from modelshelf.library import importing, licensing, registering, saving
from modelshelf.names import ModelName, ProjectName, Tag
from modelshelf.sources import hub_environment, logins
from modelshelf.sources.contract import Listing, Pin, Source
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.uri import FilesystemUri, FolderUri, HuggingFaceUri, InstanceUri, OllamaUri, SourceUri
from modelshelf.words import counted, said_bytes
from tasks import logs
from tasks.library import in_run, library
from tasks.retries import step
from tasks.threads import in_thread

_DEFAULT_HUB = "default"
B = TypeVar("B", HuggingFaceHub, OllamaRegistry)


class Origin(Protocol):
    """Which source is meant. It holds no secret: what is opened stays beside the run, and is no parameter of a task."""

    @property
    def uri(self) -> object:
        """The source's written form, as text, without credentials."""

    @property
    def model(self) -> ModelName:
        """What the library calls the model unless told otherwise."""

    async def open(self) -> Source:
        """The source, with what its block knows."""


@dataclass(frozen=True, slots=True)
class _Named:
    """What a URI names, by the URI's own default name."""

    uri: SourceUri

    @property
    def model(self) -> ModelName:
        return self.uri.model


@dataclass(frozen=True, slots=True)
class OllamaOrigin(_Named):
    uri: OllamaUri

    async def open(self) -> Source:
        return (await self._block() or OllamaRegistry()).open(self.uri)

    async def _block(self) -> OllamaRegistry | None:
        """This registry's block; None if nobody stored one. Raises LoginNotUsed for one that may be another registry's."""
        host = self.uri.name.host
        for name in dict.fromkeys((logins.block_name(host), logins.earlier_block_name(host))):
            if (block := await _load(OllamaRegistry, name)) is None:
                continue
            if name != logins.block_name(host) and block.origin:
                continue  # under its new name it is another host's
            logins.require_for(host, name, block.origin, plain_http=block.plain_http)
            return block
        return None


@dataclass(frozen=True, slots=True)
class HuggingFaceOrigin(_Named):
    uri: HuggingFaceUri
    hub: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_code: bool = False

    async def open(self) -> Source:
        return (await self._block())[0].open(self.uri, self.include, self.exclude, allow_code=self.allow_code)

    async def access(self) -> str:
        """Where the address and the token are from, for the run's log."""
        return (await self._block())[1]

    async def _block(self) -> tuple[HuggingFaceHub, str]:
        """The stored block, or what the environment of this run says, and the words for it."""
        if (block := await _load(HuggingFaceHub, self.hub)) is not None:
            endpoint = hub_environment.endpoint_of(block.endpoint, where=f"the endpoint of login {self.hub}")
            return block, f"the Hub's address is {endpoint} (login {self.hub})"
        if self.hub != _DEFAULT_HUB and in_run():
            reason = f"no such login is stored; store one with `modelshelf login huggingface {self.hub}`"
            raise BadSetting(where=f"the Hub {self.hub!r}", reason=reason)
        found = hub_environment.read(os.environ)
        return HuggingFaceHub(endpoint=found.endpoint, token=SecretStr(found.token)), str(found)


@dataclass(frozen=True, slots=True)
class FolderOrigin(_Named):
    uri: FolderUri
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_code: bool = False

    async def open(self) -> Source:
        return FolderSource(self.uri, include=self.include, exclude=self.exclude, allow_code=self.allow_code)


@dataclass(frozen=True, slots=True)
class FilesystemOrigin(_Named):
    uri: FilesystemUri
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_code: bool = False

    async def open(self) -> Source:
        return registering.source_of(library(), self.uri, self.include, self.exclude, allow_code=self.allow_code)


@dataclass(frozen=True, slots=True)
class InstanceOrigin(_Named):
    uri: InstanceUri
    project: ProjectName
    version: Tag | None = None

    async def open(self) -> Source:
        return await in_thread(lambda _stop: saving.source_in(library(), self.project, self.uri, self.version))


_open: ContextVar[dict[Origin, Source] | None] = ContextVar("open", default=None)


@contextmanager
def opened_once() -> Iterator[None]:
    """Within, a source is opened once: one client, one login, and what it listed is not asked for again."""
    token = _open.set({})
    try:
        yield
    finally:
        _open.reset(token)


async def source_of(origin: Origin) -> Source:
    """Return the source, opened now or by an earlier step of the run."""
    known = _open.get()
    if known is None:
        return await origin.open()
    if origin not in known:
        known[origin] = await origin.open()
    return known[origin]


def trusting(origin: Origin) -> AbstractContextManager[None]:
    """Add to a refused redirect how the operator can trust its target."""
    return logins.trusting(getattr(origin, "uri", None))


@step
async def pin(origin: Origin) -> Pin:
    """What the tag or branch means now; everything after is asked for by this."""
    if isinstance(origin, HuggingFaceOrigin):
        logs.say(f"Source: {await origin.access()}.")
    source = await source_of(origin)
    found = await in_thread(source.pin)
    logs.say(f"Pinned {source.uri} to {found.resolved}.")
    return found


@step
async def list_files(origin: Origin, at: Pin) -> Listing:
    """The files of the pin, refused before the first byte if they are over a limit or not what we take."""
    source = await source_of(origin)
    listing = await in_thread(lambda stop: source.list_files(at, stop))
    importing.admit(listing, source.uri, library().limits)
    licensing.require_allowed(library(), listing.license, source.uri, known=False)
    logs.say(f"The model has {counted(len(listing.files), 'file')}, {said_bytes(listing.size)}.")
    return listing


async def _load(kind: type[B], name: str) -> B | None:
    """Return the block of that name; None if nobody stored one, and then the public defaults hold.

    None also without a flow run: then there is no server that could hold a block.
    """
    if not in_run():
        return None
    try:
        return await kind.aload(name)
    except ValueError:
        return None
