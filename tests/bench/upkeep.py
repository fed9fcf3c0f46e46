"""What lies on one machine: saving from an instance, many small files, scrubbing, cleaning and auditing at 100,000 versions."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from modelshelf.catalog.stale import Policy
from modelshelf.digest import Digest
from modelshelf.engines.contract import Model
from modelshelf.engines.ollama import Ollama
from modelshelf.engines.ollama_layers import MANIFEST
from modelshelf.formats.image import PackedFile
from modelshelf.formats.kinds import Facts, Format, Role
from modelshelf.library import auditing, caching, cleaning, stamps
from modelshelf.library.opening import Library, migrate
from modelshelf.limits import DEFAULT
from modelshelf.names import FilePath, InstanceName, ProjectName, ServedName
from modelshelf.nodes.layout import lay_out
from modelshelf.nodes.own_files import LocalFiles
from modelshelf.packing.modelpack import pack
from modelshelf.settings import Settings
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.instance import InstanceSource
from modelshelf.sources.uri import FolderUri, InstanceUri, OllamaName
from modelshelf.stop import StopToken
from tests.bench.downloads import GiB, Row, make_weights
from tests.making import P, bring_in, safetensors, write

VERSIONS = 100_000


def measure(folder: Path) -> Iterator[Row]:
    work = folder / "upkeep"
    yield from _saving(work)
    yield from _scrubbing(work)
    yield from _small_files(work)
    yield from _many_versions(work)


def _library(home: Path) -> Library:
    settings = Settings(home, f"sqlite:///{home / 'catalog.db'}")
    migrate(settings)
    return Library.open(settings)


def _saving(work: Path) -> Iterator[Row]:
    models = work / "models"
    models.mkdir(parents=True)
    weights = make_weights(models, 2 * GiB, 5)
    digests = {}
    for path, content in ((weights, None), (models / "config", b"{}"), (models / "params", b'{"num_predict": 4}')):
        if content is not None:
            path.write_bytes(content)
        with path.open("rb") as file:
            digests[path.name] = (Digest.of_file(file), path.stat().st_size, path)
    (models / "blobs").mkdir()
    for digest, _, path in digests.values():
        path.rename(models / "blobs" / f"sha256-{digest.hex}")
    (config, weight, params) = (digests[name] for name in ("config", weights.name, "params"))
    for name, extra in (("first", []), ("second", [("params", params)])):
        layers = [("model", weight), *extra]
        manifest = {
            "schemaVersion": 2,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": str(config[0]),
                "size": config[1],
            },
            "layers": [
                {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": str(one[0]), "size": one[1]}
                for kind, one in layers
            ],
        }
        write(models / f"manifests/registry.ollama.ai/library/{name}/latest", json.dumps(manifest).encode())
    blob = models / "blobs" / f"sha256-{weight[0].hex}"
    os.sync()
    began = time.monotonic()
    shell = 'tee "$2" < "$1" | openssl sha256 -r >/dev/null && sync "$2"'
    subprocess.run(["bash", "-c", shell, "bash", str(blob), str(work / "copy")], check=True)
    by_hand = time.monotonic() - began
    (work / "copy").unlink()
    library = _library(work / "save")
    for name, words, limit in (
        ("first", "2 GiB that the store lacks; beside tee | openssl, sync", by_hand),
        ("second", "2 GiB that the store has", 1.0),
    ):
        os.sync()
        source = InstanceSource(InstanceUri(InstanceName("i"), OllamaName.parse(name)), LocalFiles(models))
        began = time.monotonic()
        bring_in(library, source, limits=DEFAULT)
        yield Row(f"save from an instance, {words}", time.monotonic() - began, limit, 1.0)
    shutil.rmtree(models)
    yield from _laying_out(library, work)


def _laying_out(library: Library, work: Path) -> Iterator[Row]:
    """Our part of a launch of Ollama: two models of 2 GiB that are in the store become links in its models folder."""
    from modelshelf.catalog import versions

    began = time.monotonic()
    models, folders = [], []
    with library.catalog.reading() as connection:
        found = versions.page(connection, P)
        files = {one.id: versions.files(connection, P, one.id) for one in found}
    for one in found:
        folders.append(folder := caching.fill(library, P, one, StopToken()))
        contents = {MANIFEST: (folder / str(MANIFEST)).read_bytes()}
        models.append(Model(ServedName(str(one.model)), "chat", Format.OLLAMA, files[one.id], contents=contents))
    own = work / "own"
    own.mkdir()
    lay_out(own, folders, Ollama().layout(models))
    yield Row("Ollama with two models of 2 GiB: replicas and models folder", time.monotonic() - began, 0.5, 1.0)
    copied = sum(path.stat().st_size for path in own.rglob("*") if path.is_file() and path.stat().st_nlink == 1)
    yield Row("  bytes copied for it (manifests)", float(copied))


def _scrubbing(work: Path) -> Iterator[Row]:
    library = _library(work / "save")
    for seed in (6, 7):
        path = make_weights(work, GiB, seed)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        path.rename(library.settings.store / "blobs" / "sha256" / digest)
    blobs = [str(library.store.path_of(blob.digest)) for blob in library.store.stored()]
    began = time.monotonic()
    subprocess.run(
        ["xargs", "-P", str(os.cpu_count()), "-n", "1", "openssl", "sha256"],
        input="\n".join(blobs),
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    by_hand = time.monotonic() - began
    began = time.monotonic()
    assert stamps.read_all(library, [blob.digest for blob in library.store.stored()], StopToken())[1] == {}
    yield Row("scrub of 4 GiB; beside openssl sha256 on every processor", time.monotonic() - began, by_hand, 1.25)
    shutil.rmtree(work / "save")


def _small_files(work: Path) -> Iterator[Row]:
    took: dict[int, float] = {}
    for count in (1_000, 10_000):
        folder = work / f"folder-{count}"
        write(folder / "model.safetensors", safetensors())
        for number in range(count):
            write(folder / f"part-{number // 100}" / f"{number}.json", b'{"number": %d}' % number)
        library = _library(work / f"small-{count}")
        began = time.monotonic()
        version, _ = bring_in(library, FolderSource(FolderUri(folder)), limits=DEFAULT)
        caching.fill(library, P, version, StopToken())
        took[count] = (time.monotonic() - began) / count * 1000
        shutil.rmtree(folder)
        shutil.rmtree(work / f"small-{count}")
    yield Row("10,000 small files, ms a file; beside 1,000 of them", took[10_000], took[1_000], 1.5)


def _many_versions(work: Path) -> Iterator[Row]:
    from sqlalchemy import insert

    from modelshelf.catalog.projects import project_id
    from modelshelf.catalog.tables import blob, image, image_file, model, version

    library = _library(work / "many")
    blobs_folder = library.settings.store / "blobs" / "sha256"
    content = b"GGUF" + b"\0" * 100
    weight = library.store.put(content)
    rows: dict[str, list[dict[str, object]]] = {"image": [], "file": [], "version": [], "blob": []}
    for number in range(VERSIONS):
        own = f"{number}".encode()
        digest = Digest.of(own)
        (blobs_folder / digest.hex).write_bytes(own)
        files = [
            PackedFile(FilePath("m.gguf"), Role.WEIGHT, weight.digest, weight.size),
            PackedFile(FilePath("n.json"), Role.CONFIG, digest, len(own)),
        ]
        packed = pack(Format.GGUF, files, Facts())
        for extra in (packed.config, packed.manifest):
            (blobs_folder / Digest.of(extra).hex).write_bytes(extra)
        named = str(packed.digest)
        rows["image"].append(
            {"digest": named, "config": str(Digest.of(packed.config)), "format": "gguf", "size": packed.size, "facts": {}}
        )
        rows["file"] += [
            {"image": named, "path": str(f.path), "role": f.role, "digest": str(f.digest), "size": f.size} for f in files
        ]
        rows["blob"] += [
            {"store_id": library.store_id, "digest": str(b.digest), "size": b.size, "state": "present"} for b in packed.blobs
        ]
        values = {"model_id": 1 + number // 10, "name": f"v-{number}", "source": "x", "requested": "v", "resolved": f"{number}"}
        rows["version"].append(
            {**values, "format": "gguf", "image": named, "state": "ready", "created_at": 1.0, "ready_at": float(number)}
        )
    unique = list({str(row["digest"]): row for row in rows["blob"]}.values())
    with library.catalog.writing() as connection:
        owner = project_id(connection, ProjectName("default"))
        models = [
            {"id": 1 + n, "project_id": owner, "name": f"m-{n}", "visibility": "private", "category": "chat"}
            for n in range(VERSIONS // 10)
        ]
        for table, many in (
            (model, models),
            (image, rows["image"]),
            (image_file, rows["file"]),
            (version, rows["version"]),
            (blob, unique),
        ):
            connection.execute(insert(table), many)
    began = time.monotonic()
    plan = cleaning.plan_clean(library, P, Policy(keep=2, days=30, at_most=500))
    yield Row(f"plan of a cleaning among {VERSIONS:,} versions (500 planned)", time.monotonic() - began, 10, 1.0)
    assert len(plan.versions) == 500
    began = time.monotonic()
    findings = auditing.audit(library, StopToken(), rehash="none", repair=False, who="bench")
    yield Row(f"audit of {VERSIONS:,} versions without re-hashing", time.monotonic() - began, 10, 1.0)
    assert findings == [], findings[:3]
