"""The catalog for reading commands: no server is needed, and none is started."""

from __future__ import annotations

import time

from modelshelf.catalog.database import Catalog
from modelshelf.settings import load_settings
from modelshelf.words import said_seconds


def open_catalog() -> Catalog:
    catalog = Catalog(load_settings().catalog_url)
    catalog.require()
    return catalog


def ago(at: float | None) -> str:
    """How long ago something was, by this machine's clock; for people only."""
    return f"{said_seconds(max(0.0, time.time() - at))} ago" if at is not None else ""
