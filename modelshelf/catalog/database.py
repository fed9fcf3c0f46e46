"""Opening the catalog: SQLite beside the library, or PostgreSQL for many machines. Only `migrate` changes its shape."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Double, Table, create_engine, event, func, literal_column, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, Connection, Engine

from modelshelf.catalog import urls
from modelshelf.catalog.troubles import translated
from modelshelf.errors import CatalogNewer, CatalogNotMade, CatalogOlder

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

REVISION = "0006"
"""The newest migration that this code knows."""


class Catalog:
    """The database behind `url`. Transactions are short; the database's own clock is the only one that counts."""

    def __init__(self, url: str) -> None:
        """Nothing is opened yet. Raises CatalogUrlRefused."""
        self.url = urls.parse(url)
        self._is_file = self.url.get_backend_name() == "sqlite"
        self._engine = _sqlite(self.url) if self._is_file else create_engine(self.url, pool_pre_ping=True)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction: all of it or nothing. Two writers of one row: the second sees what the first left."""
        with translated(self.url), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def trying(self) -> Iterator[Connection]:
        """A transaction that decides everything a writing one would, and is then undone: for plans."""
        with translated(self.url), self._engine.connect() as connection:
            connection.begin()
            yield connection
            connection.rollback()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view."""
        with translated(self.url), self._engine.connect().execution_options(modelshelf_reading=True) as connection:
            yield connection

    def require(self) -> None:
        """The catalog is there and of a shape that this code knows. Raises CatalogNotMade, CatalogNewer, CatalogOlder."""
        if self._is_file and not Path(str(self.url.database)).exists():
            raise CatalogNotMade(url=urls.shown(self.url))
        with translated(self.url), self._engine.connect().execution_options(modelshelf_reading=True) as connection:
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if found is None or str(found) > REVISION:
            raise CatalogNewer(url=urls.shown(self.url), found=found, known=REVISION)
        if str(found) < REVISION:
            raise CatalogOlder(url=urls.shown(self.url), found=found, known=REVISION)

    def migrate(self) -> None:
        """The catalog has this code's shape. A SQLite file is copied aside before it changes."""
        from alembic import command
        from alembic.config import Config
        from alembic.runtime.migration import MigrationContext

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with translated(self.url), self._engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
        if found is not None and found > REVISION:
            raise CatalogNewer(url=urls.shown(self.url), found=found, known=REVISION)
        if found == REVISION:
            return
        if found is not None and self._is_file:
            file = Path(str(self.url.database))
            aside = file.with_suffix(f".before-{REVISION}.db")
            with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(aside)) as copy:
                source.backup(copy)
        # a table that SQLite rebuilds is dropped, and a dropped table's references are followed unless they are switched off
        engine = _sqlite(self.url, references="OFF") if self._is_file else self._engine
        with translated(self.url), engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        if engine is not self._engine:
            engine.dispose()

    def close(self) -> None:
        self._engine.dispose()


def now(connection: Connection) -> ColumnElement[float]:
    """The database's clock, as seconds since 1970."""
    if connection.dialect.name == "sqlite":
        return literal_column("((julianday('now') - 2440587.5) * 86400.0)", Double)
    return func.extract("epoch", func.clock_timestamp()).cast(Double)


def insert_into(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT, in the words of the connection's database; both write it alike."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # slow to load, and most have no PostgreSQL

    return postgresql.insert(table)


def _sqlite(url: URL, references: str = "ON") -> Engine:
    engine = create_engine(url, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin when we say so, below
        for pragma in ("journal_mode = WAL", f"foreign_keys = {references}", "synchronous = FULL", "busy_timeout = 30000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("modelshelf_reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine
