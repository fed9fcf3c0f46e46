from __future__ import annotations

import re
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect, text

from modelshelf.catalog import database, holdings, instances, versions
from modelshelf.catalog.database import REVISION, Catalog
from modelshelf.catalog.tables import metadata
from modelshelf.digest import Digest
from modelshelf.errors import CatalogNewer, CatalogNotMade, CatalogOlder
from modelshelf.names import ModelName, ModelRef, ProjectName, Tag
from tests.making import P


def test_the_migrations_make_just_the_tables_that_the_code_knows(catalog: Catalog) -> None:
    with catalog._engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert context.get_current_revision() == REVISION
        assert compare_metadata(context, metadata) == []


def test_migrating_again_changes_nothing(catalog: Catalog) -> None:
    catalog.migrate()
    catalog.require()


def test_a_catalog_of_a_newer_modelshelf_is_refused(catalog: Catalog) -> None:
    with catalog.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(CatalogNewer):
        catalog.require()
    with pytest.raises(CatalogNewer):
        catalog.migrate()


def test_a_catalog_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    missing = Catalog(f"sqlite:///{tmp_path / 'none.db'}")
    with pytest.raises(CatalogNotMade):
        missing.require()
    assert list(tmp_path.iterdir()) == []


OLD_ROWS = (
    "INSERT INTO project (id, name) VALUES (1, 'old')",
    "INSERT INTO model (id, project_id, name, visibility, category) VALUES (1, 1, 'm', 'private', 'chat')",
    "INSERT INTO version (id, model_id, name, source, requested, resolved, state, created_at)"
    " VALUES (1, 1, 'v', 's', 'v', 'r', 'registered', 1.0)",
    "INSERT INTO alias (model_id, name, version_id) VALUES (1, 'v', 1)",
    "INSERT INTO store (id, name, region, kind) VALUES (1, 's', 'r', 'directory')",
    "INSERT INTO blob (store_id, digest, size, state) VALUES (1, 'sha256:a', 1, 'present')",
    "INSERT INTO hold (version_id, store_id, digest) VALUES (1, 1, 'sha256:a')",
)
"""What the code of the first shape writes."""


@pytest.mark.parametrize("indexed", [False, True])
def test_a_catalog_of_the_first_shape_is_told_backed_up_and_brought_up_to_date_with_its_rows(
    tmp_path: Path, indexed: bool
) -> None:
    """Also one that has the index already, as the second shape made it for some days."""
    file = tmp_path / "catalog.db"
    catalog = Catalog(f"sqlite:///{file}")
    _upgrade(catalog, "0001")
    with catalog.writing() as connection:
        for row in (*OLD_ROWS, *(["CREATE INDEX ix_image_config ON image (config)"] if indexed else [])):
            connection.execute(text(row))
    with pytest.raises(CatalogOlder, match="modelshelf up"):
        catalog.require()
    catalog.migrate()
    catalog.require()
    with catalog.reading() as connection:
        found = versions.find(connection, ProjectName("old"), ModelRef.parse("m:v"))
        assert connection.execute(text("SELECT count(*) FROM hold")).scalar_one() == 1, "what refers to a rebuilt table stays"
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
        assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
    assert (found.disabled, found.auto_cache, found.state) == (False, False, "registered")
    assert file.with_suffix(f".before-{REVISION}.db").exists()


def test_the_code_of_the_first_shape_goes_on_working_on_the_new_one(catalog: Catalog) -> None:
    with catalog.writing() as connection:
        for row in OLD_ROWS:
            connection.execute(text(row))
    with catalog.reading() as connection:
        assert not versions.find(connection, ProjectName("old"), ModelRef.parse("m:v")).disabled


def test_a_versions_id_is_never_given_twice(catalog: Catalog) -> None:
    with catalog.writing() as connection:
        ids = []
        for _ in range(2):
            new = versions.reserve(connection, P, ModelName("n"), Tag("t-1"), source="s", resolved="r", category="chat")
            versions.remove(connection, P, new, "test")
            ids.append(new.id)
    assert ids[1] > ids[0]


def test_instances_that_were_ready_before_it_was_recorded_should_run_and_others_should_not(tmp_path: Path) -> None:
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    _upgrade(catalog, "0004")
    rows = [
        "INSERT INTO project (id, name) VALUES (1, 'default')",
        "INSERT INTO node (id, name, region, kind, labels) VALUES (1, 'local', 'local', 'local', '{}')",
        "INSERT INTO template (id, project_id, name) VALUES (1, 1, 't')",
        "INSERT INTO template_revision (id, template_id, number, engine, settings) VALUES (1, 1, 1, 'llamacpp', '{}')",
    ] + [
        "INSERT INTO instance (project_id, name, revision_id, node_id, state, label, bind, port, notes, created_at)"
        f" VALUES (1, '{state}', 1, 1, '{state}', '{state}', '127.0.0.1', 1, '[]', 1.0)"
        for state in ("ready", "stopped", "failed", "starting")
    ]
    with catalog.writing() as connection:
        for row in rows:
            connection.execute(text(row))
    catalog.migrate()
    with catalog.reading() as connection:
        found = {str(one.name): (one.desired, one.attempts, one.next_try) for one in instances.page(connection, P)}
    assert found == {
        "ready": ("running", 0, None), "stopped": ("stopped", 0, None), "failed": ("stopped", 0, None),
        "starting": ("stopped", 0, None),
    }  # fmt: skip


def test_the_words_that_a_column_takes_are_those_of_its_enumeration(catalog: Catalog) -> None:
    """The migrations write them out; the code has them as enumerations."""
    compared = 0
    with catalog.reading() as connection:
        for table in metadata.tables.values():
            made = {one["name"]: one["sqltext"] for one in inspect(connection).get_check_constraints(table.name)}
            for check in table.constraints:
                if isinstance(check, CheckConstraint) and " IN (" in (said := str(check.sqltext)):
                    compared += 1
                    words = sorted(set(re.findall(r"'(\w+)'", said)))
                    assert sorted(set(re.findall(r"'(\w+)'", made[str(check.name)]))) == words, check.name
    assert compared >= 10


def test_the_only_store_of_before_holds_every_image(tmp_path: Path) -> None:
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    _upgrade(catalog, "0005")
    named = [f"sha256:{digit * 64}" for digit in "ab"]
    with catalog.writing() as connection:
        connection.execute(text("INSERT INTO store (id, name, region, kind) VALUES (7, 'local', 'local', 'directory')"))
        for one in named:
            connection.execute(
                text(f"INSERT INTO image (digest, config, format, size, facts) VALUES ('{one}', 'c', 'gguf', 1, '{{}}')")
            )
    catalog.migrate()
    with catalog.reading() as connection:
        assert [holdings.is_present(connection, 7, Digest.parse(one)) for one in named] == [True, True]
        assert [one.name for one in holdings.holders(connection, Digest.parse(named[0]))] == ["local"]


def _upgrade(catalog: Catalog, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    with catalog._engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
