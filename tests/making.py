"""Small true weights, made of a seed, and an import without Prefect."""

from __future__ import annotations

import asyncio
import json
import random
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy.engine import Connection

from blocks.engine_key import EngineKey
from flows import importing
from modelshelf import crash_points
from modelshelf.catalog import instances, templates, versions
from modelshelf.catalog.instances import Instance
from modelshelf.catalog.leases import instance_lease
from modelshelf.catalog.versions import Version
from modelshelf.library.importing import ImportPlan
from modelshelf.library.launching.request import LaunchRequest, LaunchSettings, LaunchSpec, Serves
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT, KiB, Limits
from modelshelf.names import InstanceName, ModelName, ProjectName, ServedName
from modelshelf.sources.contract import Source
from modelshelf.sources.huggingface import HuggingFaceSource
from modelshelf.sources.ollama import OllamaSource
from modelshelf.sources.uri import HuggingFaceUri, OllamaName, OllamaUri
from tasks import instances as steps
from tasks import leases
from tasks.library import working_on
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

P = ProjectName("default")
NOTHING_ASKED = LaunchRequest()
SMALL = replace(DEFAULT, part_bytes=64 * KiB, backoff_seconds=0.01, stall_seconds=1, connect_seconds=3)
"""Limits that let small files be large ones."""


def safetensors(size: int = 100_000, seed: int = 0) -> bytes:
    """A whole safetensors file of one tensor of about `size` bytes."""
    data = random.Random(seed).randbytes(size)
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + data


def gguf(size: int = 100_000, seed: int = 0, **entries: str | int) -> bytes:
    """A whole GGUF file of one tensor of about `size` bytes."""
    size -= size % 32
    known: dict[str, str | int] = {"general.architecture": "test", "test.context_length": 64, "general.file_type": 15, **entries}
    out = b"GGUF" + struct.pack("<IQQ", 3, 1, len(known))
    for key, value in known.items():
        out += _text(key)
        out += struct.pack("<II", 4, value) if isinstance(value, int) else struct.pack("<I", 8) + _text(value)
    out += _text("weight") + struct.pack("<IQIQ", 1, size, 24, 0)  # one dimension, I8, offset 0
    out += b"\0" * (-len(out) % 32)
    return out + random.Random(seed).randbytes(size)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def ollama_source(
    registry: OllamaRegistry, name: str = "library/tiny:1b", limits: Limits = SMALL, **options: object
) -> OllamaSource:
    uri = OllamaUri(OllamaName.parse(f"{registry.host}/{name}"))
    return OllamaSource(uri, plain_http=True, limits=limits, **options)  # type: ignore[arg-type]


def hub_source(hub: Hub, text: str, limits: Limits = SMALL, **options: object) -> HuggingFaceSource:
    return HuggingFaceSource(HuggingFaceUri.parse(text), limits=limits, **{"endpoint": hub.url, **options})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Given:
    """An origin whose source a test has opened."""

    source: Source

    @property
    def model(self) -> ModelName:
        return self.source.model

    @property
    def uri(self) -> str:
        return self.source.uri

    async def open(self) -> Source:
        return self.source


@contextmanager
def reaching(point: crash_points.Point, act: Callable[[], None] | None) -> Iterator[None]:
    """Call `act` when the code within reaches the point."""
    if act is None:
        yield
        return

    def reached(name: str) -> None:
        if name == point:
            act()

    crash_points.on_reach = reached
    try:
        yield
    finally:
        crash_points.on_reach = None


def bring_in(
    library: Library, source: Source, *, name: str = "", project: ProjectName = P, run: str = "run-1",
    limits: Limits = SMALL, before_publish: Callable[[], None] | None = None, allow_code: bool = False,
    category: str = "",
) -> tuple[Version, ImportPlan]:  # fmt: skip
    """Run the import flow itself, on this library and without Prefect; return the version and the flow's plan."""
    with working_on(replace(library, limits=limits), run), reaching("import.fetched", before_publish):
        plan = asyncio.run(
            importing.bring_in(
                Given(source), name=name, project=str(project), category=category, allow_code=allow_code, dry_run=False
            )
        )
    with library.catalog.reading() as connection:
        return versions.find(connection, project, plan.ref), plan


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def record_instance(
    connection: Connection, node_id: int, version: Version, name: str = "chat-1", engine: str = "llamacpp"
) -> Instance:
    """An instance of the version's project, in the catalog alone: nothing runs."""
    serving = [(version, ServedName("m"))]
    owner = version.project
    template = templates.write(connection, owner, f"instance/{name}", engine=engine, settings={}, serving=serving, who="test")
    return instances.record(
        connection, owner, InstanceName(name), template=template, node_id=node_id, label=name.rjust(32, "0"),
        bind="127.0.0.1", port=1,
    )  # fmt: skip


def launch_all(
    library: Library,
    name: InstanceName,
    serves: Serves,
    request: LaunchRequest = NOTHING_ASKED,
    key: str = "",
) -> Instance:
    """Launch by the steps of the flow, on this library and without Prefect."""
    with library.catalog.reading() as connection:
        before = instances.lookup(connection, P, name)
    settings = LaunchSettings(request.engine or "llamacpp").changed_by(request)
    return launch_spec(library, LaunchSpec(name, serves, settings, before), key)


def launch_spec(library: Library, spec: LaunchSpec, key: str = "") -> Instance:
    async def launched() -> Instance:
        plan = await steps.plan(P, spec)
        if plan.running:
            assert spec.before is not None
            return spec.before
        async with leases.hold(instance_lease(P, spec.instance)):
            return await steps.launch(P, spec, began=time.monotonic(), queued=0.0)

    with working_on(library, "test"), stored_key(key):
        return asyncio.run(launched())


@contextmanager
def stored_key(key: str) -> Iterator[None]:
    """Let every engine key that is asked for be this one: its block lies on a Prefect server."""

    async def load(_name: str) -> EngineKey:
        return EngineKey(key=SecretStr(key))

    with pytest.MonkeyPatch.context() as patch:
        if key:
            patch.setattr(EngineKey, "aload", load)
        yield
