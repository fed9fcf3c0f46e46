"""The catalog's address as people write it; a password in it is never shown; a role that may only read can list."""

from __future__ import annotations

import uuid
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from modelshelf.catalog import urls, versions
from modelshelf.catalog.database import Catalog
from modelshelf.errors import CatalogNotMade, CatalogUnreachable, CatalogUrlRefused
from modelshelf.library.opening import Library, migrate
from modelshelf.settings import Settings, private_folder
from tests.making import P


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "POSTGRES"])
def test_postgresql_is_understood_as_people_write_it(scheme: str) -> None:
    url = urls.parse(f"{scheme}://me:pw@db.example:5433/shelf?sslmode=require")
    assert url.drivername == "postgresql+psycopg"
    assert (url.host, url.port, url.database, url.username) == ("db.example", 5433, "shelf", "me")
    Catalog(f"{scheme}://me:pw@db.example/shelf").close()  # the driver loads


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", "mysql://a:hunter2@h/d", "postgresql://h:hunter2@h:port/d", "postgresql://me:hunter2@h", "sqlite://",
        "sqlite:///relative.db", "postgresql+psycopg2://a:hunter2@h/d", "://", "sqlite://host/a.db", "postgresql+nonsense://h/d",
    ],
)  # fmt: skip
def test_an_address_that_is_not_usable_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(CatalogUrlRefused) as caught:
        Catalog(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["postgres://me:hunter2@127.0.0.1:9/d", "postgresql://me@127.0.0.1:9/d?password=hunter2"])
def test_a_password_is_never_printed(text: str) -> None:
    assert "hunter2" not in urls.shown(text)
    assert "hunter2" not in urls.shown(urls.parse(text))
    for ask in (Catalog(text).require, Catalog(text).migrate):
        with pytest.raises(CatalogUnreachable) as caught:
            ask()
        assert "hunter2" not in str(caught.value)
        assert "127.0.0.1:9" in str(caught.value)


def test_a_driver_that_prints_the_password_is_not_repeated() -> None:
    url = urls.parse("postgresql://me:hunter2@h/d?sslpassword=tiger7")
    assert urls.without_secrets("no hunter2, no tiger7", url) == "no ***, no ***"


@pytest.mark.live
def test_a_role_that_may_only_read_can_list(postgres_server: str, tmp_path: Path) -> None:
    name = f"read_{uuid.uuid4().hex[:8]}"
    admin = create_engine(f"{postgres_server}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN")
    admin.dispose()
    settings = Settings(private_folder(tmp_path / "pg"), f"{postgres_server}/{name}")
    migrate(settings)
    owner = create_engine(f"{postgres_server}/{name}", isolation_level="AUTOCOMMIT")
    with owner.connect() as connection:
        connection.exec_driver_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    owner.dispose()
    reader = replace(settings, catalog_url=settings.catalog_url.replace("postgres@", f"{name}@"))
    found = Library.open(reader)
    with found.catalog.reading() as connection:
        assert versions.page(connection, P) == []
    found.catalog.close()


@pytest.mark.live
def test_an_empty_database_is_a_catalog_that_is_not_made(postgres_server: str) -> None:
    with closing(Catalog(f"{postgres_server}/postgres")) as catalog, pytest.raises(CatalogNotMade):
        catalog.require()
