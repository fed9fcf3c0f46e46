"""Auditing: catalog, store, replicas and engines compared; each difference is told, and mended only on request."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, tee

from modelshelf.catalog import blobs, instances, leases, places, replicas, versions
from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.errors import PlaceChanged, Refused, Unreadable
from modelshelf.library import registering
from modelshelf.library.cleaning import manifest_layers
from modelshelf.library.deleting import remove_condemned
from modelshelf.library.launching.prove import listing_differs
from modelshelf.library.opening import Library
from modelshelf.library.running import seen_state
from modelshelf.limits import DEFAULT
from modelshelf.names import ProjectName
from modelshelf.nodes.contract import Process
from modelshelf.stop import StopToken

_REMOVE = "remove it; its versions are failed, and can be imported again"
_GRACE_SECONDS = 3600.0
"""A blob that is younger may belong to an import that has not recorded it yet."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference: of which kind, what it is about, what was found, and what a repair does."""

    kind: str
    what: str
    found: str
    repair: str

    def to_json(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Fault:
    finding: Finding
    mend: Callable[[], object]


def audit(
    library: Library, stop: StopToken, *, rehash: bool, repair: bool, who: str, grace_seconds: float = _GRACE_SECONDS,
    on_bytes: Callable[[int], None] = lambda _count: None,
) -> list[Finding]:  # fmt: skip
    """Every difference that there is; with `repair` each is mended. `rehash` reads every byte of the store."""
    faults = chain(
        _store(library, who, grace_seconds),
        _bytes(library, who, stop, on_bytes) if rehash else (),
        _manifests(library, who, stop),
        _replicas(library),
        _places(library, who, stop, rehash=rehash),
        _instances(library),
    )
    findings = []
    for fault in faults:
        stop.check()
        findings.append(fault.finding)
        if repair:
            fault.mend()
    return findings


def bytes_to_hash(library: Library) -> int:
    """What an audit that re-hashes reads of the store."""
    return sum(blob.size for blob in library.store.blobs())


def scrub(
    library: Library, stop: StopToken, on_bytes: Callable[[int], None] = lambda _count: None
) -> Iterator[tuple[Digest, Digest]]:
    """Each stored blob whose bytes have another digest, and that digest; read on every processor."""

    def hashed(digest: Digest) -> tuple[Digest, Digest] | None:
        stop.check()
        with library.store.open(digest) as file:
            found = Digest.of_file(file)
            on_bytes(os.fstat(file.fileno()).st_size)
        return None if found == digest else (digest, found)

    largest_first = sorted(library.store.blobs(), key=lambda blob: -blob.size)
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="scrub") as pool:
        for wrong in pool.map(hashed, [blob.digest for blob in largest_first]):
            if wrong is not None:
                yield wrong


def _store(library: Library, who: str, grace_seconds: float) -> Iterator[_Fault]:
    present = {blob.digest.hex: blob.size for blob in library.store.blobs()}
    with library.catalog.reading() as connection:
        importing = leases.importing(connection)
        for digest, size, state in blobs.recorded(connection, library.store_id):
            found = present.pop(digest.hex, None)
            if state == "deleting":
                finding = Finding("deletion unfinished", str(digest), "it was marked and is still there", "finish it")
                yield _Fault(finding, partial(remove_condemned, library, StopToken()))
            elif found is None and library.store.size_of(digest) is None:  # not one that came since the store was listed
                said = "the catalog lists it, the store lacks it"
                finding = Finding("blob missing", str(digest), said, "its versions are failed")
                yield _Fault(finding, partial(_reopen, library, digest, "its content is missing in the store", who))
            elif found is not None and found != size:
                said = f"{found:,} bytes, recorded are {size:,}"
                yield _Fault(Finding("blob damaged", str(digest), said, _REMOVE), _removal(library, digest, who))
    for name, size in () if importing else present.items():  # an import records its small files at its end
        digest = Digest(name)
        if library.store.age_of(digest) >= grace_seconds:
            finding = Finding("blob extra", str(digest), f"{size:,} bytes that the catalog does not know", "remove it")
            yield _Fault(finding, partial(library.store.delete, digest))


def _bytes(library: Library, who: str, stop: StopToken, on_bytes: Callable[[int], None]) -> Iterator[_Fault]:
    for digest, found in scrub(library, stop, on_bytes):
        finding = Finding("blob damaged", str(digest), f"its bytes have the digest {found}", _REMOVE)
        yield _Fault(finding, _removal(library, digest, who))


def _manifests(library: Library, who: str, stop: StopToken) -> Iterator[_Fault]:
    with library.catalog.reading() as connection:
        ours, again = tee(versions.images(connection))
        contents = library.store.read_each((image for image, _ in ours), DEFAULT.manifest_bytes)
        for (image, known), (_, content) in zip(again, contents, strict=True):
            stop.check()
            if content is None:  # told as missing already
                continue
            try:
                same, found = manifest_layers(image, content) == known, "it names other blobs than the catalog"
            except Unreadable as error:
                same, found = False, error.facts["reason"]
            if not same:
                yield _Fault(Finding("manifest differs", str(image), found, _REMOVE), _removal(library, image, who))


def _replicas(library: Library) -> Iterator[_Fault]:
    known: set[Digest] = set()
    with library.catalog.reading() as connection:
        rows = replicas.on_node(connection, library.node_id)
    for version_id, owner, observed in rows:
        with library.catalog.reading() as connection:
            target = versions.get(connection, owner, version_id)
            files = versions.files(connection, owner, version_id) if target.state == "ready" else ()
        if target.image is None:
            continue
        known.add(target.image)
        if observed == "present" and not library.node.holds(target.image, files):
            finding = Finding(
                "replica gone", str(target.ref), "its files on the node are gone or altered", "it is absent; cache it"
            )
            yield _Fault(finding, partial(_mark_absent, library, target))
    for image in library.node.replicas():
        if image not in known:
            finding = Finding("replica extra", str(image), "no version's replica is recorded for it", "remove it")
            yield _Fault(finding, partial(library.node.evict, image))


def _places(library: Library, who: str, stop: StopToken, *, rehash: bool) -> Iterator[_Fault]:
    with library.catalog.reading() as connection:
        rows = places.everywhere(connection)
    for owner, version_id in rows:
        stop.check()
        with library.catalog.reading() as connection:
            target = versions.get(connection, owner, version_id)
            at = places.of(connection, target)
        try:
            registering.require_same_bytes(library, target, at, stop) if rehash else registering.require_here(library, target, at)
        except PlaceChanged as error:
            finding = Finding("place changed", str(target.ref), error.facts["reason"], "its version is failed; register it again")
            yield _Fault(finding, partial(_fail, library, owner, target, error.facts["reason"], who))
        except Refused as error:  # not mounted here, or another region's: nothing is known of its files
            yield _Fault(Finding("place not seen", str(target.ref), str(error), "none"), _nothing)


def _instances(library: Library) -> Iterator[_Fault]:
    with library.catalog.reading() as connection:
        rows = [
            (owner, instances.find(connection, owner, name)) for owner, name in instances.everywhere(connection, library.node_id)
        ]
    for owner, one in rows:
        state, reason = seen_state(library, one)
        if state != one.state:
            finding = Finding(
                "instance gone", f"{owner}/{one.name}", f"recorded as {one.state}: {reason}", "record what was seen"
            )
            yield _Fault(finding, partial(_record_state, library, one, state, reason))
        elif state == "ready" and (differs := listing_differs(library, owner, one)) is not None:
            repair = "none: `modelshelf restart` lays it out again"
            yield _Fault(Finding("engine lists other", f"{owner}/{one.name}", differs, repair), _nothing)
    labels = {one.label for _, one in rows}
    found = library.node.running()
    for label, ours in found.items():
        if label not in labels:
            finding = Finding("engine without a row", _processes(ours), "no instance is recorded for it", "stop it")
            yield _Fault(finding, partial(library.node.stop, label, DEFAULT.engine_stop_seconds))
    for owner, one in rows:
        if one.label in found and library.node.find(one.label) is None:
            what, left = f"{owner}/{one.name}", f"its first process is gone, {_processes(found[one.label])} are left"
            finding = Finding("engine left over", what, left, "stop them")
            yield _Fault(finding, partial(library.node.stop, one.label, DEFAULT.engine_stop_seconds))
    for label in library.node.instance_labels() - labels:
        finding = Finding("instance folder extra", label, "no instance is recorded for it", "remove it")
        yield _Fault(finding, partial(library.node.discard_instance, label))


def _processes(ours: Sequence[Process]) -> str:
    return f"process{'es' if len(ours) > 1 else ''} {', '.join(str(one.pid) for one in ours)}"


def _nothing() -> None:
    """What a person has to decide."""


def _removal(library: Library, digest: Digest, who: str) -> Callable[[], object]:
    def mend() -> None:
        _reopen(library, digest, "its content in the store was damaged", who)
        library.store.delete(digest)

    return mend


def _reopen(library: Library, digest: Digest, reason: str, who: str) -> None:
    """Versions that need the blob are failed and can be imported again; the blob is not counted on any more."""
    with library.catalog.writing() as connection:
        for owner, version_id in versions.needing(connection, digest):
            target = versions.get(connection, owner, version_id)
            versions.reopen(connection, owner, target, f"{reason}; import it again", who)
        versions.forget_unused_images(connection)
        blobs.lose(connection, library.store_id, digest)


def _mark_absent(library: Library, target: Version) -> None:
    with library.catalog.writing() as connection:
        replicas.observe(connection, library.node_id, target.id, "absent", "its files were gone or altered; cache it again")


def _fail(library: Library, owner: ProjectName, target: Version, reason: str, who: str) -> None:
    with library.catalog.writing() as connection:
        versions.reopen(connection, owner, target, f"{reason}; register it again", who)


def _record_state(library: Library, one: instances.Instance, state: str, reason: str | None) -> None:
    with library.catalog.writing() as connection:
        instances.change(connection, one.id, state=state, reason=reason)
