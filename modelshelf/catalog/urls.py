"""The catalog's address, as people write it; a password in it is never shown."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from modelshelf.errors import CatalogUrlRefused

_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""By the scheme that people write: the dialect and driver that are installed with us."""
_SECRET_KEYS = ("password", "passfile", "sslpassword")
_HIDDEN = "***"


def parse(text: str) -> URL:
    """Return the address with the driver that we bring. Raises CatalogUrlRefused, which shows no more than the scheme."""
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if scheme not in _DRIVERS:
        said = f"it begins with `{scheme}://`" if scheme.replace("+", "").isalnum() else "it does not begin with a known scheme"
        raise CatalogUrlRefused(reason=said)
    try:
        url = make_url(text).set(drivername=_DRIVERS[scheme])
    except (ArgumentError, ValueError) as error:
        raise CatalogUrlRefused(reason="host, port or path cannot be read") from error
    if _DRIVERS[scheme] == "sqlite" and (url.host or not url.database or not Path(url.database).is_absolute()):
        raise CatalogUrlRefused(reason="the file's path is not absolute (four slashes: `sqlite:////home/me/catalog.db`)")
    if _DRIVERS[scheme] != "sqlite" and not url.database:
        raise CatalogUrlRefused(reason="it names no database")
    return url


def shown(url: URL | str) -> str:
    """Return the address for people: without its password, and without the driver that nobody wrote."""
    if isinstance(url, str):
        try:
            url = parse(url)
        except CatalogUrlRefused:
            return "an address that is not usable"
    hidden = {key: _HIDDEN for key in url.query if key.lower() in _SECRET_KEYS}
    return url.set(drivername=url.get_backend_name()).update_query_dict(hidden).render_as_string(hide_password=True)


def without_secrets(text: str, url: URL) -> str:
    """Return a driver's message without the password that the address holds."""
    secrets = [str(url.password)] if url.password else []
    for key, value in url.query.items():
        if key.lower() in _SECRET_KEYS:
            secrets += [value] if isinstance(value, str) else list(value)
    for secret in secrets:
        text = text.replace(secret, _HIDDEN) if secret else text
    return text
