"""Auditing: catalog, store, replicas and engines compared; each difference is told, and mended only on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain

from modelshelf.catalog import blobs, instances, places, replicas, versions
from modelshelf.catalog.ids import VersionId
from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.errors import PlaceChanged, Refused
from modelshelf.library import registering, store_audit
from modelshelf.library.evicting import remove_unneeded
from modelshelf.library.findings import Fault, Finding, FindingKind, Rehash
from modelshelf.library.launching.prove import listing_differs
from modelshelf.library.observing import whole_replicas
from modelshelf.library.opening import Library
from modelshelf.library.running import seen_state
from modelshelf.limits import DEFAULT
from modelshelf.nodes.contract import Ended
from modelshelf.states import InstanceState, ReplicaObserved
from modelshelf.stop import StopToken

_GRACE_SECONDS = 3600.0
"""A blob that is younger may belong to an import that has not recorded it yet."""


def audit(
    library: Library, stop: StopToken, *, rehash: Rehash, repair: bool, who: str, grace_seconds: float = _GRACE_SECONDS,
    on_bytes: Callable[[int], None] = lambda _count: None,
) -> list[Finding]:  # fmt: skip
    """Every difference that there is; with `repair` each is mended that can be, and says what came of it."""
    faults = chain(
        store_audit.presence(library, who, stop, grace_seconds),
        store_audit.bytes_read(library, who, stop, rehash, on_bytes),
        store_audit.manifests(library, who, stop),
        _replicas(library, stop),
        _places(library, who, stop, rehash=rehash == "all"),
        _instances(library),
    )
    findings = []
    for fault in faults:
        stop.check()
        findings.append(fault.mended() if repair else fault.finding)
    return findings


def bytes_to_hash(library: Library, rehash: Rehash) -> int:
    """What such an audit reads of the store."""
    return store_audit.bytes_to_read(library, rehash)


def _replicas(library: Library, stop: StopToken) -> Iterator[Fault]:
    known: set[Digest] = set()
    nameless = ""
    with library.catalog.reading() as connection:
        targets = versions.on_node(connection, library.node_id)
        recorded = replicas.observed_on(connection, library.node_id)
        held = blobs.held_by(connection, library.store_id, [one.id for one in targets if one.image is None])
    whole = whole_replicas(library)
    present = set(library.node.replicas.list())
    for target in targets:
        stop.check()
        if target.image is None:  # it was damaged: its image is among what it holds, unless the manifest is what was lost
            its = held[target.id] & present
            known |= its
            nameless = nameless or ("" if its else str(target.ref))
            continue
        known.add(target.image)
        if recorded[target.id][0] == ReplicaObserved.PRESENT and target.image not in whole:
            finding = Finding(
                FindingKind.REPLICA_GONE,
                str(target.ref),
                "its files on the node are missing or changed",
                "record it as absent; then cache it again",
            )
            yield Fault(finding, partial(_mark_absent, library, target))
    for image in sorted(present):
        if image not in known:
            said = "no replica is recorded for this folder"
            if nameless:
                repair = f"none: the folder may belong to {nameless}, whose image is lost; import that again"
                yield Fault(Finding(FindingKind.REPLICA_EXTRA, str(image), said, repair), None)
            else:
                yield Fault(
                    Finding(FindingKind.REPLICA_EXTRA, str(image), said, "remove it"), partial(_remove_extra, library, image)
                )


def _places(library: Library, who: str, stop: StopToken, *, rehash: bool) -> Iterator[Fault]:
    with library.catalog.reading() as connection:
        found = list(places.everywhere(connection))
    for target, at in found:
        stop.check()
        try:
            registering.require_same_bytes(library, target, at, stop) if rehash else registering.require_here(library, target, at)
        except PlaceChanged as error:
            finding = Finding(
                FindingKind.PLACE_CHANGED,
                str(target.ref),
                error.facts["reason"],
                "mark its version as failed; then register it again",
            )
            yield Fault(finding, partial(_fail, library, target, error.facts["reason"], who))
        except Refused as error:  # not mounted here, or another region's: nothing is known of its files
            yield Fault(Finding(FindingKind.PLACE_NOT_SEEN, str(target.ref), str(error), "none"), None)


def _instances(library: Library) -> Iterator[Fault]:
    with library.catalog.reading() as connection:
        rows = [(one.project, one) for one in instances.on_node(connection, library.node_id)]
        not_ready = versions.served_but_not_ready(connection, library.node_id)
    for owner, one in rows:
        state, reason = seen_state(library, one)
        if state != one.state:
            finding = Finding(
                FindingKind.INSTANCE_GONE,
                f"{owner}/{one.name}",
                f"recorded as {one.state}: {reason}",
                "record the state that was found",
            )
            yield Fault(finding, partial(_record_state, library, one, state, reason))
        elif state == InstanceState.READY and (failed := _failed(one, not_ready)) is not None:
            said = f"it serves {failed.ref}, which is {failed.state}; its engine keeps running"
            repair = f"none: run `modelshelf import {failed.source}`; then the instance can be restarted"
            yield Fault(Finding(FindingKind.SERVED_VERSION_FAILED, f"{owner}/{one.name}", said, repair), None)
        elif state == InstanceState.READY and (differs := listing_differs(library, owner, one)) is not None:
            repair = f"none: run `modelshelf restart {one.name}`"
            yield Fault(Finding(FindingKind.ENGINE_LISTS_OTHER, f"{owner}/{one.name}", differs, repair), None)
    labels = {one.label for _, one in rows}
    found = library.node.look()
    for label, engine in found.items():
        if label not in labels:
            finding = Finding(FindingKind.ENGINE_WITHOUT_A_ROW, engine.parts, "no instance is recorded for it", "stop it")
            yield Fault(finding, partial(library.node.stop, label, DEFAULT.engine_stop_seconds))
    for owner, one in rows:
        if isinstance(ended := found.get(one.label), Ended):
            what, left = f"{owner}/{one.name}", f"its first process is gone, but {ended.parts} still exist"
            finding = Finding(FindingKind.ENGINE_LEFT_OVER, what, left, "stop them")
            yield Fault(finding, partial(library.node.stop, one.label, DEFAULT.engine_stop_seconds))
    for label in set(library.node.labels()) - labels:
        finding = Finding(FindingKind.INSTANCE_FOLDER_EXTRA, label, "no instance is recorded for it", "remove it")
        yield Fault(finding, partial(library.node.discard, label))


def _failed(one: instances.Instance, not_ready: Mapping[VersionId, Version]) -> Version | None:
    """A version that the instance serves and that is not ready any more."""
    return next((not_ready[served.version_id] for served in one.serves if served.version_id in not_ready), None)


def _remove_extra(library: Library, image: Digest) -> str | None:
    return None if remove_unneeded(library, image) else "a run or an instance now uses it"


def _mark_absent(library: Library, target: Version) -> None:
    with library.catalog.writing() as connection:
        replicas.observe(
            connection, library.node_id, target.id, ReplicaObserved.ABSENT, "its files were missing or changed; cache it again"
        )


def _fail(library: Library, target: Version, reason: str, who: str) -> None:
    with library.catalog.writing() as connection:
        versions.reopen(connection, target.project, target, f"{reason}; register it again", who)


def _record_state(library: Library, one: instances.Instance, state: InstanceState, reason: str | None) -> None:
    with library.catalog.writing() as connection:
        instances.change(connection, one.id, state=state, reason=reason)
