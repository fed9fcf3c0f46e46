from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import event, insert, text, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from modelshelf.catalog import blobs, instances, journal, replicas, templates, versions
from modelshelf.catalog.database import Catalog
from modelshelf.catalog.leases import Lease
from modelshelf.catalog.projects import project_id
from modelshelf.catalog.tables import blob, metadata, model, model_share
from modelshelf.catalog.versions import Version
from modelshelf.digest import Blob, Digest
from modelshelf.errors import (
    CatalogUnreachable,
    LeaseLost,
    ModelshelfError,
    NameTaken,
    NoSuchModel,
    NotReady,
    StillInUse,
    TagAndDigestDisagree,
    WhichVersion,
)
from modelshelf.formats.image import Image, PackedFile
from modelshelf.formats.kinds import Facts, Format, Role
from modelshelf.names import FilePath, InstanceName, ModelName, ModelRef, NodeName, ProjectName, ServedName, Tag
from modelshelf.packing.modelpack import pack
from tests.making import record_instance

A, B, C = ProjectName("a"), ProjectName("b"), ProjectName("c")


def image(seed: int = 0) -> Image:
    content = f"weights {seed}".encode()
    return pack(Format.GGUF, [PackedFile(FilePath("m.gguf"), Role.WEIGHT, Digest.of(content), len(content))], Facts("test", 5))


def make(catalog: Catalog, owner: ProjectName = A, name: str = "m", tag: str = "1b", seed: int = 0) -> Version:
    """A ready version."""
    with catalog.writing() as connection:
        store = blobs.store_id(connection, "local", region="here", kind="directory")
        resolved = Digest.of(f"{seed}".encode()).hex
        version = versions.reserve(
            connection,
            owner,
            ModelName(name),
            Tag(f"{tag}-{resolved[:8]}"),
            source="ollama://m",
            resolved=resolved,
            category="chat",
        )
        lease = Lease(version.lease, "test")
        assert lease.acquire(connection)
        made = versions.publish(
            connection, owner, version, image(seed), lease=lease, store_id=store, license="mit", tag=Tag(tag), who="test"
        )
        lease.release(connection)
        return made


def find(catalog: Catalog, asking: ProjectName, text: str) -> Version:
    with catalog.reading() as connection:
        return versions.find(connection, asking, ModelRef.parse(text))


def test_a_version_is_found_by_name_alias_image_and_as_the_only_one(catalog: Catalog) -> None:
    made = make(catalog)
    for text_ in ("m", "m:1b", f"m:{made.name}", f"m@{made.image}", f"m:1b@{made.image}", "a/m:1b"):
        assert find(catalog, A, text_) == made
    assert (made.state, made.size, made.facts.architecture, made.license) == ("ready", 9, "test", "mit")


def test_a_tag_and_a_digest_that_disagree_are_refused(catalog: Catalog) -> None:
    make(catalog)
    with pytest.raises(TagAndDigestDisagree):
        find(catalog, A, f"m:1b@{Digest.of(b'other')}")


def test_of_several_versions_one_must_be_named_unless_one_is_latest(catalog: Catalog) -> None:
    make(catalog, tag="1b", seed=1)
    make(catalog, tag="2b", seed=2)
    with pytest.raises(WhichVersion, match=r"2b, 1b|1b, 2b"):
        find(catalog, A, "m")
    damaged = make(catalog, tag="3b", seed=4)
    with catalog.writing() as connection:
        versions.reopen(connection, A, damaged, "its content is damaged", "test")
    with pytest.raises(WhichVersion) as refused:
        find(catalog, A, "m")
    assert "3b" not in str(refused.value), "what failed is no choice"
    latest = make(catalog, tag="latest", seed=3)
    assert find(catalog, A, "m").id == latest.id


def test_a_private_version_is_seen_by_nobody_else_by_any_door(catalog: Catalog) -> None:
    made = make(catalog)
    for text_ in ("a/m:1b", f"a/m:{made.name}", f"a/m@{made.image}", "m"):
        with pytest.raises(NoSuchModel):
            find(catalog, B, text_)
    with catalog.reading() as connection:
        assert versions.page(connection, B) == []
        with pytest.raises(NoSuchModel):
            versions.get(connection, B, made.id)
        with pytest.raises(NoSuchModel):
            versions.files(connection, B, made.id)


def test_sharing_and_publishing_show_it_to_those_who_are_meant(catalog: Catalog) -> None:
    made = make(catalog)
    with catalog.writing() as connection:
        connection.execute(update(model).values(visibility="shared"))
        connection.execute(insert(model_share).values(model_id=1, project_id=project_id(connection, B)))
    assert find(catalog, B, "a/m:1b").id == made.id
    with pytest.raises(NoSuchModel):
        find(catalog, C, "a/m:1b")
    with catalog.writing() as connection:
        connection.execute(update(model).values(visibility="public"))
    assert find(catalog, C, "a/m:1b").id == made.id


def test_other_content_under_a_taken_name_is_refused(catalog: Catalog) -> None:
    made = make(catalog)
    with pytest.raises(NameTaken), catalog.writing() as connection:
        versions.reserve(connection, A, made.model, made.name, source="x", resolved=made.resolved[:8] + "0" * 56, category="chat")


def test_a_ready_version_does_not_change_its_image(catalog: Catalog) -> None:
    made = make(catalog)
    lease = Lease(made.lease, "again")
    with catalog.writing() as connection:
        assert lease.acquire(connection)
    with pytest.raises(NameTaken), catalog.writing() as connection:
        versions.publish(connection, A, made, image(9), lease=lease, store_id=1, license=None, tag=Tag("1b"), who="x")
    with catalog.writing() as connection:
        versions.set_state(connection, made.id, "failed", "too late")
    assert find(catalog, A, "m").state == "ready"


def test_a_version_is_not_published_after_its_lease_lapsed(catalog: Catalog) -> None:
    with catalog.writing() as connection:
        store = blobs.store_id(connection, "local", region="here", kind="directory")
        version = versions.reserve(connection, A, ModelName("m"), Tag("x-0"), source="s", resolved="0", category="chat")
    with pytest.raises(LeaseLost), catalog.writing() as connection:
        versions.publish(
            connection,
            A,
            version,
            image(),
            lease=Lease(version.lease, "never had it"),
            store_id=store,
            license=None,
            tag=Tag("x"),
            who="x",
        )
    with pytest.raises(NotReady, match="registered"):
        versions.require_ready(find(catalog, A, "m:x-0"))
    with catalog.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM image")).scalar() == 0


def test_two_that_reserve_one_name_at_once_get_one_row(catalog: Catalog) -> None:
    with catalog.writing() as connection:
        project_id(connection, A)
    found: list[int | str] = []

    def reserve() -> None:
        try:
            with catalog.writing() as connection:
                version = versions.reserve(connection, A, ModelName("m"), Tag("x-0"), source="s", resolved="0", category="chat")
                found.append(version.id)
        except IntegrityError:
            found.append("try again")

    threads = [threading.Thread(target=reserve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one for one in found if isinstance(one, int)}) == 1
    with catalog.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM version")).scalar() == 1


def test_an_alias_moves_and_its_history_is_kept(catalog: Catalog) -> None:
    first, second = make(catalog, tag="1b", seed=1), make(catalog, tag="1b", seed=2)
    assert find(catalog, A, "m:1b").id == second.id
    with catalog.reading() as connection:
        moves = connection.execute(text("SELECT before, after, who FROM alias_move ORDER BY id")).all()
    assert [tuple(move) for move in moves] == [(None, str(first.name), "test"), (str(first.name), str(second.name), "test")]


def test_a_digest_alone_is_no_right_to_the_bytes(catalog: Catalog) -> None:
    """A project that lists another's private blob does not get to count on it; one that may see the version does."""
    make(catalog, owner=A)
    digest = image().files[0].digest
    with catalog.writing() as connection:
        other = versions.reserve(connection, B, ModelName("m"), Tag("x-0"), source="s", resolved="0", category="chat")
        assert blobs.hold_known(connection, B, 1, other.id, [digest]) == set()
        connection.execute(update(model).values(visibility="public"))
        assert blobs.hold_known(connection, B, 1, other.id, [digest]) == {digest}


def test_what_an_import_holds_is_not_condemned_and_what_is_condemned_is_revived_by_who_has_it_under_its_lock(
    catalog: Catalog,
) -> None:
    with catalog.writing() as connection:
        store = blobs.store_id(connection, "local", region="here", kind="directory")
        version = versions.reserve(connection, A, ModelName("m"), Tag("x-0"), source="s", resolved="0", category="chat")
        held, loose = Blob(Digest.of(b"held"), 4), Blob(Digest.of(b"loose"), 5)
        blobs.hold_fetched(connection, store, version.id, [held])
        blobs.record(connection, store, [loose])
        assert blobs.condemn_unused(connection, store, [held.digest, loose.digest]) == [loose.digest]
        assert blobs.condemned(connection, store) == [loose.digest]
        assert blobs.is_condemned(connection, store, loose.digest)
    with catalog.writing() as connection:
        blobs.hold_fetched(connection, store, version.id, [loose])
        assert not blobs.is_condemned(connection, store, loose.digest)
        blobs.forget(connection, store, loose.digest)
        assert blobs.recorded_of(connection, store, [loose.digest]).keys() == {loose.digest}, "what is present is not forgotten"


def test_a_stamp_is_kept_with_the_time_of_the_proof_and_changed_only_from_what_it_was(catalog: Catalog) -> None:
    with catalog.writing() as connection:
        store = blobs.store_id(connection, "local", region="here", kind="directory")
        old, new, never = (Blob(Digest.of(name), 4, stamp) for name, stamp in ((b"old", "s1"), (b"new", "t1"), (b"never", None)))
        blobs.record(connection, store, [old])
        connection.execute(text("UPDATE blob SET proven_at = 1"))
        blobs.record(connection, store, [new, never])
        assert [one.digest for one in blobs.longest_unproven(connection, store)] == [never.digest, old.digest, new.digest]
        blobs.restamp(connection, store, {old.digest: ("s1", "s2"), new.digest: ("not this", "t2")})
        blobs.record(connection, store, [Blob(old.digest, 4)])
        found = blobs.recorded_of(connection, store, [old.digest, new.digest, never.digest])
        assert {digest: row.stamp for digest, row in found.items()} == {old.digest: "s2", new.digest: "t1", never.digest: None}
        blobs.prove(connection, store, {never.digest: "u1"})
        assert blobs.longest_unproven(connection, store)[0] == old


def test_an_import_that_begins_to_count_on_a_blob_while_a_clean_up_asks_for_it_keeps_it(catalog: Catalog) -> None:
    """The clean-up decides after the import's transaction, not by what it saw before."""
    made = make(catalog)
    blob_of_it = image().files[0].digest
    with catalog.writing() as connection:
        other = versions.reserve(connection, A, ModelName("n"), Tag("x-0"), source="s", resolved="0", category="chat")
    condemned: list[Digest] = []

    def clean_up() -> None:
        with catalog.writing() as connection:
            versions.remove(connection, A, made, "test")
            condemned.extend(blobs.condemn_unused(connection, 1, [blob_of_it]))

    sweeping = threading.Thread(target=clean_up)
    with catalog.writing() as connection:
        assert blobs.hold_known(connection, A, 1, other.id, [blob_of_it]) == {blob_of_it}
        sweeping.start()
        if connection.dialect.name == "postgresql":  # SQLite lets no second writer begin
            waits = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
            with catalog._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as watching:
                while watching.execute(waits).scalar_one() == 0:
                    assert sweeping.is_alive(), "the clean-up did not wait for the import"
    sweeping.join()
    assert condemned == []


def test_a_version_in_use_names_every_holder(catalog: Catalog) -> None:
    made = make(catalog)
    with catalog.writing() as connection:
        node = replicas.node_id(connection, NodeName("local"), region="here", kind="local")
        templates.write(connection, A, "qa", engine="llamacpp", settings={}, serving=[(made, ServedName("m"))], who="test")
        record_instance(connection, node, made)
        Lease(made.lease, "run 7").acquire(connection)
    with pytest.raises(StillInUse, match=r"instance chat-1 .*template qa \(revision 1\).*run 7"), catalog.writing() as connection:
        instances.require_unused(connection, made)


def test_a_template_revision_never_changes_and_asking_the_same_makes_none(catalog: Catalog) -> None:
    made = make(catalog)
    serves = [(made, ServedName("m"))]
    with catalog.writing() as connection:

        def write(port: int) -> int:
            settings = {"port": port}
            return templates.write(connection, A, "qa", engine="llamacpp", settings=settings, serving=serves, who="test").number

        assert [write(1), write(1), write(2)] == [1, 1, 2]
        assert templates.get(connection, A, "qa", 1).settings == {"port": 1}


def test_a_project_sees_only_its_own_instances(catalog: Catalog) -> None:
    test_a_version_in_use_names_every_holder(catalog)
    with catalog.reading() as connection:
        assert [str(one.name) for one in instances.page(connection, A)] == ["chat-1"]
        assert instances.page(connection, B) == []
        with pytest.raises(ModelshelfError):
            instances.find(connection, B, InstanceName("chat-1"))


def test_the_schema_itself_refuses_what_may_not_be(catalog: Catalog) -> None:
    made = make(catalog)
    for statement in (
        f"UPDATE version SET state = 'ready', image = NULL WHERE id = {made.id}",
        f"UPDATE version SET state = 'what' WHERE id = {made.id}",
        f"DELETE FROM version WHERE id = {made.id}",
        "DELETE FROM image",
        "INSERT INTO hold (version_id, store_id, digest) VALUES (1, 1, 'sha256:none')",
    ):
        with pytest.raises(IntegrityError), catalog.writing() as connection:
            connection.execute(text(statement))


def test_a_failed_transaction_leaves_no_half_fact(catalog: Catalog) -> None:
    class Dropped(Exception):
        pass

    with pytest.raises(Dropped), catalog.writing() as connection:
        versions.reserve(connection, A, ModelName("m"), Tag("x-0"), source="s", resolved="0", category="chat")
        raise Dropped
    with catalog.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM model")).scalar() == 0


def test_a_connection_that_is_dropped_at_any_statement_leaves_no_half_fact(catalog: Catalog) -> None:
    """Each transaction is cut at its first statement, its second, and so on, until it is let through."""

    def everything() -> list[object]:
        with catalog.reading() as connection:
            return [sorted(map(str, connection.execute(table.select()).all())) for table in metadata.sorted_tables]

    lease, ref = Lease("import", "test"), ModelRef(ModelName("m"), Tag("1b-0"))

    def reserved(connection: Connection) -> None:
        versions.reserve(connection, A, ref.model, Tag("1b-0"), source="s", resolved="0", category="chat")
        assert lease.acquire(connection)

    def published(connection: Connection) -> None:
        target = versions.find(connection, A, ref)
        versions.publish(connection, A, target, image(), lease=lease, store_id=1, license=None, tag=Tag("1b"), who="test")
        lease.release(connection)

    def removed(connection: Connection) -> None:
        target = versions.find(connection, A, ref)
        instances.require_unused(connection, target)
        replicas.forget_version(connection, target.id)
        versions.remove(connection, A, target, "test")
        blobs.condemn_unused(connection, 1, [one.digest for one in image().blobs])

    with catalog.writing() as connection:
        blobs.store_id(connection, "local", region="here", kind="directory")
    for transaction in (reserved, published, removed):
        before, cuts = everything(), 0
        while _cut(catalog, transaction, after=cuts):
            assert everything() == before, (transaction.__name__, cuts)
            cuts += 1
        assert everything() != before
        assert cuts > 3, "it has statements to be cut at"


def _cut(catalog: Catalog, transaction: Callable[[Connection], None], after: int) -> bool:
    """Drop the connection before the statement `after`; False if the transaction ended before that."""
    left = after

    def drop(connection: Connection, *_: object) -> None:
        nonlocal left
        left -= 1
        if left != -1:
            return
        if connection.dialect.name == "postgresql":  # as an administrator, or a server that goes down, ends it
            with catalog._engine.connect() as other:
                other.execute(
                    text("SELECT pg_terminate_backend(:pid)"), {"pid": connection.connection.driver_connection.info.backend_pid}
                )
        else:
            connection.connection.close()
            raise sqlite3.OperationalError("disk I/O error")

    event.listen(catalog._engine, "before_cursor_execute", drop)
    try:
        with catalog.writing() as connection:
            transaction(connection)
    except (CatalogUnreachable, sqlite3.OperationalError):
        return True
    finally:
        event.remove(catalog._engine, "before_cursor_execute", drop)
    return False


def test_progress_never_falls(catalog: Catalog) -> None:
    for done in (10, 50, 20, 60):
        with catalog.writing() as connection:
            journal.record_progress(connection, "r", journal.Progress("fetching", done, 100))
        with catalog.reading() as connection:
            sample = journal.get_progress(connection, "r")
        assert sample is not None
        assert sample.done == max(done, 50) if done != 10 else 10


def test_deleting_a_blobs_row_waits_for_the_mark(catalog: Catalog) -> None:
    make(catalog)
    with catalog.writing() as connection:
        blobs.forget(connection, 1, image().files[0].digest)
        assert connection.execute(blob.select().where(blob.c.digest == str(image().files[0].digest))).first() is not None
