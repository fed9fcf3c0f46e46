"""The catalog: what is listed, called, used and held, and the database behind it."""

from __future__ import annotations

from modelshelf.failures import OfAnyLayer, Refused, Unavailable


class NoSuchModel(Refused):
    """Project {project} can see no {what}. List models with `modelshelf list`, or import one, for example: `modelshelf import
    ollama://qwen3:0.6b`."""


class WhichVersion(Refused):
    """{model} has several versions, and none is called `latest`: {choices}. Name one of them."""


class NotReady(Refused):
    """{what} is not ready: it is {state}{reason}. Nothing was changed. {advice}"""


class NameTaken(Refused):
    """{what} already names other content: {found}; this import is {wanted}. A version never changes. Nothing was changed.
    Import under another name (`--name`)."""


class OtherPublisher(Refused):
    """{what} is published by {found}, and this import is from {wanted}: an import never gives a name to another publisher's
    weights. Nothing was changed. Import under a name of its own (`--name {example}`)."""


class OtherBranch(Refused):
    """{what} names a version of the branch {found}, and this import is of the branch {wanted}: an import never gives a name to
    another branch's weights. Nothing was changed. Import under a name of its own (`--name {example}`), or first remove the
    alias: `modelshelf alias {model} {alias} --remove`."""


class Disabled(Refused):
    """{what} is disabled. Nothing was changed. `modelshelf enable {what}` makes it selectable again; instances that serve
    it go on, and can be restarted."""


class NoSuchAlias(Refused):
    """{model} has no alias {alias}{detail}. Nothing was changed. List its aliases: `modelshelf alias {model}`."""


class StillInUse(Refused):
    """{what} is in use: {holders}. Nothing was deleted. Release these first, then delete again: `modelshelf stop` an
    instance, `modelshelf template delete` a template, `modelshelf alias MODEL ALIAS --remove`, `modelshelf unpin` a
    replica."""


class Unreadable(Refused):
    """{what} is not reliable: {reason}. Nothing was deleted. `modelshelf audit` reports what is wrong, and `modelshelf
    audit --repair` repairs it."""


class LeaseLost(OfAnyLayer, Unavailable):
    """The lease on {what} expired before the work was done, and another run may have taken it: this result was not
    recorded."""


class BlobBeingDeleted(Unavailable):
    """{digest} is being removed, replaced or checked by {holder}. Nothing was changed. Try again in a moment."""


class CatalogUnreachable(Unavailable):
    """The catalog {url} could not be used: {reason}. Nothing was changed."""


class CatalogUrlRefused(Refused):
    """The catalog's address is not usable: {reason}. Nothing was read or changed. Expected
    `postgresql://user:password@host/name` or `sqlite:////folder/catalog.db`, in `catalog_url` of config.toml or in
    MODELSHELF_CATALOG_URL."""


class CatalogDamaged(Refused):
    """The catalog {url} is damaged: {reason}. Nothing was changed. Run `modelshelf down`, and restore the file from a
    backup: `catalog.before-*.db` beside it is the copy that the last upgrade made."""


class CatalogDiskFull(Refused):
    """The catalog {url} cannot be written because its disk is full: {reason}{free}. Nothing was changed. Free some space
    there, then try again."""


class CatalogNotPermitted(Refused):
    """The catalog {url} cannot be used by this user: {reason}. Nothing was changed. Run the command as the owner, give this
    user access, or name another folder with MODELSHELF_HOME."""


class OtherHome(Refused):
    """The {kind} of the catalog {url} is not the one in {home}: {reason}. Nothing was changed. {ways}: `modelshelf up
    --take-over`."""


class BadMarker(Refused):
    """{path} does not state whose folder this is: {reason}. Nothing was changed. Restore the file from a backup, or remove
    it and run `modelshelf up --take-over`."""


class CatalogNewer(Refused):
    """The catalog {url} is at revision {found}, which this modelshelf does not know (it knows {known}). Nothing was
    changed. Use the newer modelshelf."""


class CatalogOlder(Refused):
    """The catalog {url} is at revision {found}, and this modelshelf needs {known}. Nothing was changed. Run `modelshelf
    down`, then `modelshelf up`: that upgrades the catalog, and first copies it if it is a SQLite file."""


class CatalogNotMade(Refused):
    """There is no catalog at {url} yet. Run `modelshelf up`, or any command that changes something."""


class NoSuchFilesystem(Refused):
    """There is no filesystem {filesystem}: {known}. Nothing was changed. Add `[filesystems.{filesystem}]` with `path` and
    `region` to {config}."""


class PlaceChanged(Refused):
    """{what} is not what was registered: {reason}. Nothing was started. Restore it, or register it again: that makes a new
    version."""


class OtherRegion(Refused):
    """{what} is on the filesystem {filesystem} in the region {region}; this machine is in {found}. Nothing was started.
    Launch it there, or import a copy: `modelshelf import file://…`."""


class InPlace(Refused):
    """{what} is in place on the filesystem {filesystem}: {reason}. Nothing was changed. Engines read it there; `modelshelf
    import file://…` makes a copy."""


class NotAnEmptyFolder(Refused):
    """{path} is not the absolute path of a new or empty folder. Nothing was written. Name another."""
