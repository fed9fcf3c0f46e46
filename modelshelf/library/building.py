"""A version's image, built again from the store and written as an OCI layout that other tools read.

Source: OCI image layout specification: `oci-layout`, `index.json`, `blobs/sha256/<hex>`.
"""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from modelshelf.catalog import images, versions
from modelshelf.catalog.leases import Lease, build_lease
from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.errors import NotAnEmptyFolder, StoreDamaged, WriteFailed
from modelshelf.formats.allowed import inspect_file
from modelshelf.formats.describing import describe
from modelshelf.formats.image import Image, PackedFile
from modelshelf.formats.kinds import Format, Header, Role
from modelshelf.library import copying
from modelshelf.library.leases import alone
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT
from modelshelf.names import FilePath, ModelRef, ProjectName
from modelshelf.packing.modelpack import ARTIFACT_TYPE, MANIFEST_TYPE, pack, pack_in_first_form, read_image
from modelshelf.sources.ollama import MANIFEST_PATH, parts_of
from modelshelf.stop import StopToken
from modelshelf.store.copying import copy_blob


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What is written where; `size` in bytes."""

    ref: ModelRef
    image: Digest
    size: int
    blobs: int
    to: Path


def plan_build(library: Library, asking: ProjectName, ref: ModelRef, to: Path) -> BuildPlan:
    """Raises NotReady, NoSuchModel, or NotAnEmptyFolder if something else is at `to`."""
    with library.catalog.reading() as connection:
        target = versions.require_image(versions.require_ready(versions.find(connection, asking, ref)), "it has no image")
        files = versions.files(connection, asking, target.id)
    if not to.is_absolute() or (to.exists() and (not to.is_dir() or any(to.iterdir()))):
        raise NotAnEmptyFolder(path=to)
    assert target.image is not None
    return BuildPlan(target.ref, target.image, sum(file.size for file in files), len({file.digest for file in files}) + 2, to)


def build(library: Library, asking: ProjectName, plan: BuildPlan, stop: StopToken) -> None:
    """The layout is there, whole, and every blob in it was hashed on the way. Raises StoreDamaged."""
    with library.catalog.reading() as connection:
        target = versions.find(connection, asking, plan.ref)
    copying.bring_content(library, target, stop)
    image = rebuild(library, asking, plan.ref)
    if image.digest != plan.image:
        raise StoreDamaged(path=library.store, reason=f"its files make the image {image.digest}, but {plan.image} is recorded")
    with alone(library, Lease(build_lease(plan.to), says=str(plan.ref)), stop):
        for left in plan.to.parent.glob(f".{escape(plan.to.name)}.{'[0-9a-f]' * 32}"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        _write(library, plan, image, stop)


def _write(library: Library, plan: BuildPlan, image: Image, stop: StopToken) -> None:
    building = plan.to.with_name(f".{plan.to.name}.{uuid.uuid4().hex}")
    try:
        (building / "blobs" / "sha256").mkdir(parents=True)
        for blob in sorted(image.blobs):
            copy_blob(library.store, blob.digest, building / "blobs" / "sha256" / blob.digest.hex, stop)
        (building / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
        (building / "index.json").write_text(json.dumps(_index(plan.ref, image), indent=2))
        if plan.to.is_dir():
            plan.to.rmdir()
        building.rename(plan.to)
    except OSError as error:
        raise WriteFailed(what=f"the image of {plan.ref}", path=plan.to, reason=error.strerror or error) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def rebuild(library: Library, asking: ProjectName, ref: ModelRef) -> Image:
    """Return the image by its manifest and config as they are stored, or made again from its files where these are damaged.

    What headers are read for grows; an image keeps the config that it was published with.
    """
    with library.catalog.reading() as connection:
        target = versions.require_ready(versions.find(connection, asking, ref))
        files = versions.files(connection, asking, target.id)
    return _stored(library, target, files) or make_again(library, target, files)


def make_again(library: Library, target: Version, files: tuple[PackedFile, ...]) -> Image:
    """Pack the files, their headers read again, in the form whose digest is the recorded one; else in today's."""
    assert target.format is not None
    headers: dict[FilePath, Header] = {}
    for file in files:
        if file.role is Role.WEIGHT:
            named = FilePath(f"{file.path}.gguf") if target.format is Format.OLLAMA else file.path
            with library.store.open(file.digest) as content:
                if (header := inspect_file(content, file.size, named)) is not None:
                    headers[file.path] = header
    first = pack_in_first_form(target.format, files, [header.facts for header in headers.values()])
    if first.digest == target.image:
        return first
    manifests = [file for file in files if file.path == MANIFEST_PATH and target.format is Format.OLLAMA]
    layers = {
        path: part for file in manifests for path, part in parts_of(_content(library, file.digest), what=str(target.ref)).items()
    }
    described = describe(target.format, headers, layers, what=target.ref, command=f"modelshelf import {target.source}")
    return pack(target.format, files, described.facts)


def _stored(library: Library, target: Version, files: tuple[PackedFile, ...]) -> Image | None:
    """The image as it was published; None if its manifest or config is not in the store, or not as it was."""
    assert target.image is not None and target.format is not None
    with library.catalog.reading() as connection:
        config = images.config_of(connection, target.image)
    if library.store.sizes([target.image, config]).keys() != {target.image, config}:
        return None
    manifest, content = _content(library, target.image), _content(library, config)
    if Digest.of(manifest) != target.image:
        return None
    return read_image(target.format, files, target.facts, content, manifest)


def _content(library: Library, digest: Digest) -> bytes:
    with library.store.open(digest) as file:
        return file.read(DEFAULT.manifest_bytes)


def _index(ref: ModelRef, image: Image) -> dict[str, object]:
    descriptor = {
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "digest": str(image.digest),
        "size": len(image.manifest),
        "annotations": {"org.opencontainers.image.ref.name": str(ref.tag)},
    }
    return {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [descriptor]}
