"""Is this folder the one that the catalog means? Two homes on one catalog never take each other's store and node for theirs.

A marker in the store's and the node's folder holds a UUID, and the catalog's row holds the same one (decision 0021). The
marker also holds where it was written: a copy of the folder is not the folder.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy.engine import Connection

from modelshelf.catalog import blobs, identities, instances, replicas, urls
from modelshelf.catalog.database import Catalog
from modelshelf.catalog.identities import Owned
from modelshelf.catalog.ids import NodeId, StoreId
from modelshelf.durable import write_whole
from modelshelf.errors import BadMarker, CatalogNotMade, OtherHome
from modelshelf.nodes.contract import Engines
from modelshelf.settings import Settings, default_catalog
from modelshelf.store.contract import Store

_SAMPLE = 20
"""So many recorded blobs are looked for to recognise a store that was made before there were markers."""


@dataclass(frozen=True, slots=True)
class Marker:
    """The file `identity.json` of a store's or a node's folder: whose it is, and where and on which machine it was written."""

    identity: str
    folder: str
    machine: str

    @classmethod
    def read(cls, folder: Path) -> Marker | None:
        """Return None if the folder is not marked. Raises BadMarker."""
        file = folder / "identity.json"
        try:
            found = json.loads(file.read_text())
            return cls(str(uuid.UUID(found["identity"])), str(found["folder"]), str(found["machine"]))
        except FileNotFoundError:
            return None
        except (IsADirectoryError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadMarker(path=file, reason=f"the file holds no identity ({type(error).__name__})") from error

    @classmethod
    def write(cls, folder: Path, identity: str) -> Marker:
        made = cls(identity, str(folder.resolve()), machine())
        write_whole(folder / "identity.json", json.dumps(asdict(made)))
        return made


def find_ids(catalog: Catalog, settings: Settings, store: Store) -> tuple[StoreId, NodeId]:
    """Return the ids of this home's store and node; nothing is written. Raises OtherHome, CatalogNotMade, BadMarker."""
    with catalog.reading() as connection:
        rows = [identities.find(connection, kind, name) for kind, name, _ in _folders(settings)]
        for (kind, _, folder), row in zip(_folders(settings), rows, strict=True):
            if row is None:
                raise CatalogNotMade(url=urls.shown(catalog.url))
            _require_ours(connection, settings, store, kind, row, folder)
    store_row, node_row = rows
    assert store_row is not None and node_row is not None
    return StoreId(store_row.id), NodeId(node_row.id)


def join(catalog: Catalog, settings: Settings, store: Store) -> None:
    """The catalog has rows for this home's store and node, and both are marked. Raises OtherHome, BadMarker."""
    with catalog.writing() as connection:
        _make_rows(connection, settings)
        for kind, name, folder in _folders(settings):
            row = identities.find(connection, kind, name, lock=True)
            assert row is not None
            _require_ours(connection, settings, store, kind, row, folder)
            marker = Marker.read(folder)
            # the marker first: killed here, the next start finds a marker and a row without an identity, and goes on
            if marker is None or marker.folder != str(folder.resolve()):
                marker = Marker.write(folder, marker.identity if marker else str(uuid.uuid4()))
            if row.identity is None:
                identities.assign(connection, kind, row.id, marker.identity)


def take_over(catalog: Catalog, settings: Settings, node: Engines) -> None:
    """This home's folders are what the catalog means from now on; another home that was, is refused.

    Both get new identities. Engines that do not run from this home's folders are not this home's: their rows are stopped,
    under new labels, so that nothing here ever stops another home's processes.
    """
    ours = node.look()
    with catalog.writing() as connection:
        _make_rows(connection, settings)
        for kind, name, folder in _folders(settings):
            row = identities.find(connection, kind, name, lock=True)
            assert row is not None
            identities.assign(connection, kind, row.id, Marker.write(folder, str(uuid.uuid4())).identity)
            if kind == "node":
                for instance_id, label in instances.labels(connection, NodeId(row.id)):
                    if label not in ours:
                        fresh = uuid.uuid4().hex
                        node.rename(label, fresh)
                        instances.detach(connection, instance_id, fresh, "its machine or folder was taken over; launch it again")


def _folders(settings: Settings) -> tuple[tuple[str, str, Path], ...]:
    name = str(settings.node_name)
    return ("store", name, settings.store), ("node", name, settings.node)


def _make_rows(connection: Connection, settings: Settings) -> None:
    name = settings.node_name
    content = blobs.store_id(connection, str(name), region=settings.region, kind="directory")
    identities.place_store(connection, StoreId(content), host=machine(), folder=str(settings.store.resolve()))
    replicas.node_id(connection, name, region=settings.region, kind="local")


def _require_ours(
    connection: Connection, settings: Settings, store: Store, kind: str, row: Owned, folder: Path
) -> None:  # fmt: skip
    """Raise OtherHome unless the row means this folder, or nobody's yet and the store holds what the catalog counts on."""
    marker = Marker.read(folder)
    if row.identity is not None and marker is None:
        _refuse(settings, kind, f"the catalog records the identity {row.identity}, and {folder} has no `identity.json`")
    if row.identity is not None and marker is not None and marker.identity != row.identity:
        _refuse(settings, kind, f"the catalog records the identity {row.identity}, and {folder} has {marker.identity}")
    if marker is not None and (reason := _copied(marker, folder)):
        _refuse(settings, kind, reason)
    if row.identity is None and not _holds_content(connection, settings, store):
        _refuse(settings, kind, f"{store} holds none of the content that the catalog lists")


def _copied(marker: Marker, folder: Path) -> str:
    """Why the folder is a copy of the one that was marked; empty if it is that one, also after it was moved."""
    if marker.machine and machine() and marker.machine != machine():
        return f"{folder} was marked on another machine"
    before = Path(marker.folder)
    if before == folder.resolve():
        return ""
    try:
        other = Marker.read(before)
    except (OSError, BadMarker):
        return ""
    same = other is not None and other.identity == marker.identity and not before.samefile(folder)
    return f"{folder} is a copy of {before}" if same else ""


def _holds_content(connection: Connection, settings: Settings, store: Store) -> bool:
    found = identities.find(connection, "store", str(settings.node_name))
    listed = blobs.sample(connection, StoreId(found.id), _SAMPLE) if found is not None else []
    return not listed or bool(store.sizes(listed))


def machine() -> str:
    """Return this machine's identity, hashed as machine-id(5) asks for; empty where the system has none."""
    try:
        found = Path("/etc/machine-id").read_text().strip()
    except OSError:
        return ""
    return hashlib.sha256(f"modelshelf {found}".encode()).hexdigest()[:32] if found else ""


def _refuse(settings: Settings, kind: str, reason: str) -> None:
    if settings.catalog_url == default_catalog(settings.home):
        ways = "Use the folder that was marked, or make this one a library of its own"
    else:
        ways = (
            f'Join the catalog as a node of your own (`node = "NAME"` in {settings.config_file}), or use a catalog of this'
            " home's own (remove `catalog_url` there, unset MODELSHELF_CATALOG_URL). Or, if the other machine or folder is gone"
            " or the marker was lost, make this home the owner"
        )
    raise OtherHome(kind=kind, url=urls.shown(settings.catalog_url), home=settings.home, reason=reason, ways=ways)
