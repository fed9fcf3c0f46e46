from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from modelshelf.catalog.database import REVISION, Catalog
from modelshelf.catalog.tables import metadata
from modelshelf.errors import CatalogNewer, CatalogNotMade


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
