"""Bringing a model in: reserved, planned, fetched, packed, published. Only the last step makes anything visible."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace
from typing import ClassVar

from sqlalchemy.engine import Connection

from modelshelf.catalog import aliases, blobs, journal, versions
from modelshelf.catalog.journal import EventKind
from modelshelf.catalog.leases import Lease, fetch_lease
from modelshelf.catalog.versions import Version
from modelshelf.crash_points import reach
from modelshelf.digest import Blob, Digest
from modelshelf.errors import BlobMissing, DiskFull, LeaseLost, LimitExceeded, NameTaken
from modelshelf.formats.allowed import POINTER_BYTES, inspect_file
from modelshelf.formats.describing import describe, known
from modelshelf.formats.image import Image, PackedFile
from modelshelf.formats.kinds import Header, PartKind, Role
from modelshelf.formats.licenses import TEXT_BYTES, is_license_file
from modelshelf.formats.named_code import may_name_code, refuse_named_code
from modelshelf.formats.parts import Parts
from modelshelf.json_form import as_json
from modelshelf.library import categories, holding, licensing, stamps
from modelshelf.library.leases import alone
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import FilePath, ModelName, ModelRef, ProjectName, Tag, refuse_colliding
from modelshelf.packing.modelpack import pack
from modelshelf.sources.contract import Listing, Pin, Source, SourceFile
from modelshelf.sources.fetch import fetch_blob, read_small
from modelshelf.sources.ollama import MANIFEST_PATH, parts_of
from modelshelf.states import VersionState
from modelshelf.stop import StopToken
from modelshelf.transfer.contract import Downloads

_LEASED_BYTES = 16 << 20
"""Smaller files are not worth waiting for another run that may be fetching them."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file of an import. `fetch` is false for what the store holds and the project may count on."""

    path: FilePath
    size: int
    digest: Digest | None
    fetch: bool


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What an import does, and nothing else. Sizes in bytes."""

    model: ModelName
    version: str
    source: str
    resolved: str
    format: str
    license: str | None
    files: tuple[PlannedFile, ...]
    left_out: tuple[str, ...]
    total: int
    to_fetch: int
    resumed: int
    """Of `to_fetch`, what arrived in an earlier try and is not fetched again."""
    free_before: int
    ready: bool
    """The version was there already: nothing is to be done."""

    @property
    def ref(self) -> ModelRef:
        return ModelRef(self.model, Tag(self.version))

    @property
    def moved(self) -> int:
        """Bytes that come from the publisher."""
        return self.to_fetch - self.resumed

    @property
    def free_after(self) -> int:
        return self.free_before - self.to_fetch

    JSON_ALSO: ClassVar = ("moved", "free_after")


@dataclass(frozen=True, slots=True)
class Arrived:
    """One file that the store holds for this import, and what its header says if it was read on the way."""

    path: FilePath
    role: Role
    blob: Blob
    header: Header | None


def admit(listing: Listing, source: str, limits: Limits = DEFAULT) -> None:
    """Refuse what is over a limit or could not be laid out on every system, before the first byte."""
    count = len(listing.files) + len(listing.inline)
    if count > limits.files:
        raise LimitExceeded(what=source, found=f"{count} files", limit=f"{limits.files} files")
    if listing.size > limits.model_bytes:
        raise LimitExceeded(what=source, found=f"{listing.size:,} bytes", limit=f"{limits.model_bytes:,} bytes")
    refuse_colliding([file.path for file in listing.files] + [path for path, _, _ in listing.inline])


def plan_dry(
    library: Library, asking: ProjectName, name: ModelName, pin: Pin, listing: Listing, *, source: Source, category: str,
    allow_code: bool = False, stop: StopToken | None = None, limits: Limits = DEFAULT,
) -> ImportPlan:  # fmt: skip
    """What an import would do, or the refusal that it would end with before its weights are fetched.

    Nothing is changed, not even reserved. Small files are read, as an import reads them first, and stored nowhere.
    """
    stop = stop or StopToken()
    with library.catalog.trying() as connection:
        target = categories.reserve(connection, asking, name, pin, source=source.uri, category=category, who="")
        mine = _blobs_of(library, connection, target)
    damaged = bool(stamps.check(library, mine, stop, record=False).bad)
    with (
        holding.whole(library, asking, _digests(listing), stop, changing=False) as whole,
        library.catalog.trying() as connection,
    ):
        target = categories.reserve(connection, asking, name, pin, source=source.uri, category=category, who="")
        plan = _decide(library, connection, asking, target, listing, whole, damaged=damaged)
    if not plan.ready:
        _judge_small_files(library, target, source, listing, plan, allow_code, stop, limits)
    return plan


def _judge_small_files(
    library: Library, target: Version, source: Source, listing: Listing, plan: ImportPlan, allow_code: bool, stop: StopToken,
    limits: Limits,
) -> None:  # fmt: skip
    """The policy that an import would decide by what it fetches first, over the same bytes."""
    fetched = {file.path for file in plan.files if file.fetch}
    first = [file for file in listing.files if file.path in fetched and _comes_first(file)]
    downloads = Downloads(source.wire, stop=stop, on_bytes=lambda _count: None, login=source.login, limits=limits)
    with ThreadPoolExecutor(limits.files_at_once, thread_name_prefix="file") as pool:
        contents = list(pool.map(lambda file: read_small(downloads, file.wanted, limits), first))
    inline = {path: content for path, _, content in listing.inline}
    read = {**inline, **{file.path: content for file, content in zip(first, contents, strict=True)}}
    there = {file.path: file.wanted.key for file in listing.files if file.path not in fetched}

    def start_of(path: FilePath, at_most: int) -> bytes:
        return read[path][:at_most] if path in read else _start_of(library, there[path], at_most)

    known = [(file.path, file.role) for file in listing.files if file.path in read or file.path in there]
    _refuse_by_policy(library, listing, target, known, start_of, allow_code, limits)


def plan_and_hold(
    library: Library, asking: ProjectName, target: Version, listing: Listing, run: str, stop: StopToken | None = None
) -> ImportPlan:
    """The plan of this run, recorded before it acts. What it counts on stays in the store until it publishes.

    A version that is ready is looked at too: what is damaged of it is fetched again.
    """
    stop = stop or StopToken()
    library.store.discard_abandoned(DEFAULT.abandoned_seconds)
    with library.catalog.reading() as connection:
        mine = _blobs_of(library, connection, target)
    damaged = bool(stamps.check(library, mine, stop).bad)
    with holding.whole(library, asking, _digests(listing), stop) as whole, library.catalog.writing() as connection:
        current = versions.get(connection, asking, target.id)
        plan = _decide(library, connection, asking, current, listing, whole, damaged=damaged)
        if plan.ready:
            blobs.release_holds(connection, target.id)
        else:
            versions.begin_import(connection, target.id, plan.to_fetch)
        journal.record_plan(connection, run, as_json(plan))
        journal.record_progress(connection, run, journal.Progress("fetching", 0, plan.to_fetch))
    reach("import.reserved")
    return plan


def _decide(
    library: Library, connection: Connection, asking: ProjectName, target: Version, listing: Listing, whole: set[Digest], *,
    damaged: bool,
) -> ImportPlan:  # fmt: skip
    """The plan, for a dry run and for a real one alike. Raises NameTaken, or DiskFull."""
    known = blobs.hold_known(connection, asking, library.store_id, target.id, whole)
    plan = _plan(library, target, listing, known, ready=target.state == VersionState.READY and not damaged)
    if target.state == VersionState.READY:
        _require_same(target, versions.files(connection, asking, target.id), listing)
    if plan.to_fetch:
        _require_space(library, plan, versions.reserved_by_others(connection, target.id))
    return plan


def _blobs_of(library: Library, connection: Connection, target: Version) -> set[Digest]:
    """Every blob that a ready version needs; none of one that is not ready."""
    return set(versions.blob_sizes(connection, library.store_id, target)) if target.state == VersionState.READY else set()


class Meter:
    """Bytes that have arrived, counted from several threads; what it shows never falls."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._counted = 0
        self._shown = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._counted += count

    def sample(self) -> int:
        with self._lock:
            self._shown = max(self._shown, min(self._counted, self.total))
            return self._shown


def fetch_missing(
    library: Library, asking: ProjectName, target: Version, source: Source, listing: Listing, plan: ImportPlan, *,
    meter: Meter, stop: StopToken, allow_code: bool = False, limits: Limits = DEFAULT,
) -> tuple[Arrived, ...]:  # fmt: skip
    """Every file of the listing is in the store, proven; what was there is not fetched again.

    Configuration and licences come first: if the one names code of the publisher, or the other is not taken here, no weights
    are fetched.
    """
    planned = {file.path: file.fetch for file in plan.files}
    arrived = [_there(file) for file in listing.files if not planned[file.path]]
    wanted = [file for file in listing.files if planned[file.path]]
    arrived += [
        Arrived(path, role, library.store.put(content), None) for path, role, content in listing.inline
    ]  # the listing brought these along
    small: list[Blob] = [one.blob for one in arrived[-len(listing.inline) :]] if listing.inline else []
    if not wanted:
        _refuse_by_policy(library, listing, target, *_stored(library, arrived), allow_code, limits)
        holding.require_kept(holding.record_fetched(library, target, small))
        return tuple(arrived)
    first = [file for file in wanted if _comes_first(file)]
    rest = [file for file in wanted if not _comes_first(file)]

    halt = stop.child()
    downloads = Downloads(source.wire, stop=halt, on_bytes=meter.add, login=source.login, limits=limits)
    with ThreadPoolExecutor(limits.files_at_once, thread_name_prefix="file") as pool:

        def bring(file: SourceFile) -> Arrived:
            if file.digest is None or file.size < _LEASED_BYTES:
                blob, header = fetch_blob(library.store, downloads, file.wanted, limits)
                small.append(blob)
                return Arrived(file.path, file.role, blob, header)
            return _fetch_alone(library, asking, target, downloads, file, halt, limits)

        tasks: list[Future[Arrived]] = []
        try:
            for some in (first, rest):
                begun = [pool.submit(bring, file) for file in sorted(some, key=lambda file: -file.size)]
                tasks += begun
                done, _ = wait_for(begun, return_when=FIRST_EXCEPTION)
                failures = [error for task in done if (error := task.exception()) is not None]
                if failures:
                    raise failures[0]
                if some is first:
                    now = [*arrived, *(task.result() for task in begun)]
                    _refuse_by_policy(library, listing, target, *_stored(library, now), allow_code, limits)
        finally:
            halt.set()
            for task in tasks:
                task.cancel()
            taken = holding.record_fetched(library, target, small)  # also of a run that ends here: its next try counts on these
    holding.require_kept(taken)
    reach("import.fetched")
    return (*arrived, *(task.result() for task in tasks))


def publish(
    library: Library, asking: ProjectName, target: Version, listing: Listing, arrived: tuple[Arrived, ...], pin: Pin, *,
    lease: Lease, who: str, category: str = "",
) -> Version:  # fmt: skip
    """The version is ready and listed; its manifest and every blob are durable. Blobs, config, manifest, row: in this order."""
    headers = {one.path: header for one in arrived if (header := _header(library, listing, one)) is not None}
    described = describe(listing.format, headers, _layers(listing), what=target.ref, command=f"modelshelf import {target.source}")
    files = {one.path: PackedFile(one.path, one.role, one.blob.digest, one.blob.size) for one in arrived}
    image = pack(listing.format, files.values(), described.facts)

    def read(path: FilePath) -> bytes:
        return _start_of(library, files[path].digest, DEFAULT.api_body_bytes)

    image = replace(image, facts=known(described, listing.format, files.keys(), read))
    license = _license(listing, *_stored(library, arrived)) or described.license
    licensing.require_allowed(library, license, target.ref)
    made = library.store.publish(image, target.ref)
    reach("import.manifest_stored")
    with library.store.locks.counting_on({blob.digest for blob in image.blobs}):
        there = library.store.sizes(blob.digest for blob in image.blobs)
        for blob in image.blobs:  # whoever meddled with the store meanwhile: nothing is listed that is not there
            if there.get(blob.digest) != blob.size:
                raise BlobMissing(store=library.store, digest=blob.digest)
        reach("import.before_publish")
        published = _publish(
            library, asking, target, image, made, described.parts, pin, lease=lease, license=license, who=who, category=category
        )
    reach("import.published")
    return published


def _publish(
    library: Library, asking: ProjectName, target: Version, image: Image, made: set[Blob], parts: Parts, pin: Pin, *,
    lease: Lease, license: str | None, who: str, category: str,
) -> Version:  # fmt: skip
    with library.catalog.writing() as connection:
        published = versions.publish(
            connection, asking, target, image, lease=lease, store_id=library.store_id, license=license,
            parts=parts, tag=pin.requested, who=who, made=made,
        )  # fmt: skip
        return categories.settle(connection, asking, published, named=category, who=who)


def follow_tag(library: Library, asking: ProjectName, target: Version, pin: Pin, *, who: str) -> None:
    """Let the tag name a version that was ready before: its publisher moved the tag back to it. Raises OtherPublisher."""
    with library.catalog.writing() as connection:
        aliases.move_by_import(connection, asking, target, pin.requested, who=who)


def give_up(library: Library, target: Version, lease: Lease, reason: str, who: str) -> None:
    """Mark the version failed, with the reason. What was fetched stays held for the next try.

    A run that has lost its lease marks nothing: the version belongs to the run that took it over.
    """
    with library.catalog.writing() as connection:
        try:
            lease.renew(connection)
        except LeaseLost:
            return
        versions.set_state(connection, target.id, VersionState.FAILED, reason)
        journal.record_event(connection, target.project, who, EventKind.VERSION_FAILED, str(target.ref), reason)


def _fetch_alone(
    library: Library, asking: ProjectName, target: Version, downloads: Downloads, file: SourceFile, stop: StopToken,
    limits: Limits,
) -> Arrived:  # fmt: skip
    """One large file, by one run at a time; who waited takes over what the other run fetched, if it may see it."""
    digest = file.wanted.key
    with alone(library, Lease(fetch_lease(library.store_id, digest), says=str(target.ref)), stop):
        with holding.whole(library, asking, [digest], stop) as whole:
            if whole:
                with library.catalog.writing() as connection:
                    if blobs.hold_known(connection, asking, library.store_id, target.id, whole):
                        return _there(file)

        def hold(blob: Blob) -> None:
            holding.hold_now(library, target, [blob])

        blob, header = fetch_blob(library.store, downloads, file.wanted, limits, hold)
        return Arrived(file.path, file.role, blob, header)


def _comes_first(file: SourceFile) -> bool:
    return may_name_code(file.path) or is_license_file(file.path, file.role) or file.size < POINTER_BYTES


def _refuse_by_policy(
    library: Library, listing: Listing, target: Version, files: Sequence[tuple[FilePath, Role]],
    start_of: Callable[[FilePath, int], bytes], allow_code: bool, limits: Limits,
) -> None:  # fmt: skip
    licensing.require_allowed(library, _license(listing, files, start_of), target.ref, known=False)
    for path, _ in files:
        if not allow_code and may_name_code(path):
            refuse_named_code(start_of(path, limits.api_body_bytes), path, limits)


def _license(listing: Listing, files: Sequence[tuple[FilePath, Role]], start_of: Callable[[FilePath, int], bytes]) -> str | None:
    """As its publisher says, else as its own texts say."""
    if listing.license:
        return listing.license
    return licensing.told_by_texts(start_of(path, TEXT_BYTES) for path, role in files if is_license_file(path, role))


def _stored(library: Library, arrived: Sequence[Arrived]) -> tuple[list[tuple[FilePath, Role]], Callable[[FilePath, int], bytes]]:
    """The files with their roles, and how the start of each is read from the store."""
    digests = {one.path: one.blob.digest for one in arrived}
    return [(one.path, one.role) for one in arrived], lambda path, at_most: _start_of(library, digests[path], at_most)


def _start_of(library: Library, digest: Digest, at_most: int) -> bytes:
    with library.store.open(digest) as file:
        return file.read(at_most)


def _there(file: SourceFile) -> Arrived:
    return Arrived(file.path, file.role, Blob(file.wanted.key, file.size), None)


def _layers(listing: Listing) -> dict[FilePath, PartKind]:
    """What the manifest that came with the listing calls its weights; empty where there is none."""
    manifests = (content for path, _, content in listing.inline if path == MANIFEST_PATH)
    return {path: part for content in manifests for path, part in parts_of(content, what="the listing").items()}


def _header(library: Library, listing: Listing, one: Arrived) -> Header | None:
    """From the header as it was read on arrival, or now from the store."""
    if one.header is not None or one.role is not Role.WEIGHT:
        return one.header
    named = next((file.wanted.path for file in listing.files if file.path == one.path), one.path)
    with library.store.open(one.blob.digest) as file:
        return inspect_file(file, one.blob.size, named)


def _digests(listing: Listing) -> list[Digest]:
    return [file.digest for file in listing.files if file.digest is not None]


def _plan(library: Library, target: Version, listing: Listing, known: set[Digest], *, ready: bool) -> ImportPlan:
    files = tuple(
        PlannedFile(file.path, file.size, file.digest, fetch=not ready and file.digest not in known) for file in listing.files
    )
    arrived = {one.key: one.arrived for one in library.store.arriving()}
    return ImportPlan(
        model=target.model,
        version=str(target.name),
        source=target.source,
        resolved=target.resolved,
        format=str(listing.format),
        license=listing.license,
        files=files,
        left_out=listing.left_out,
        total=listing.size,
        to_fetch=sum(file.size for file in files if file.fetch),
        resumed=sum(
            min(file.size, arrived.get(file.wanted.key, 0))
            for file, planned in zip(listing.files, files, strict=True)
            if planned.fetch
        ),
        free_before=library.store.free_bytes(),
        ready=ready,
    )


def _require_space(library: Library, plan: ImportPlan, reserved: int, limits: Limits = DEFAULT) -> None:
    """What arrives, ours or another import's, has its whole place on the disk already; what will arrive has not."""
    there = sum(one.reserved for one in library.store.arriving())
    if plan.free_after - reserved + min(there, plan.to_fetch + reserved) < limits.free_bytes_kept:
        others = f" in addition to {reserved:,} bytes that running imports reserve" if reserved else ""
        raise DiskFull(
            path=library.store,
            needed=f"{plan.to_fetch:,} bytes{others}",
            free=f"{plan.free_before:,} bytes",
            kept=f"{limits.free_bytes_kept:,} bytes",
        )


def _require_same(current: Version, files: tuple[PackedFile, ...], listing: Listing) -> None:
    """A version never changes: asked for with other files, it is another one's name."""
    there = {(str(file.path), file.size) for file in files}
    wanted = {(str(file.path), file.size) for file in listing.files}
    wanted |= {(str(path), len(content)) for path, _, content in listing.inline}
    if there != wanted:
        raise NameTaken(what=current.ref, found=f"{len(there)} files", wanted=f"{len(wanted)} different files")
