"""Values: names, references, settings, secrets, and which catalog and server they lead to."""

from __future__ import annotations

from modelshelf.failures import OfAnyLayer, Refused


class BadDigest(OfAnyLayer, Refused):
    """{text} is not a digest: expected `sha256:` and 64 lower-case hex digits."""


class BadName(OfAnyLayer, Refused):
    """{text} is not a {kind}: expected {expected}."""


class BadReference(Refused):
    """{text} is not a model reference: expected `model`, `model:tag`, `model:version` or `model@sha256:…`, with `project/`
    in front for another project's model. See `modelshelf list`."""


class TagAndDigestDisagree(Refused):
    """{reference} names a tag and a digest that disagree: the tag is {found}. Omit one of the two; `modelshelf show` prints
    a version's digest."""


class BadSource(Refused):
    """{text} is not a source: {reason}. Expected for example `ollama://qwen3:0.6b`, `hf://org/repo@main` or
    `hf://org/repo:Q4_K_M`."""


class NoScheme(Refused):
    """{text} is neither a file nor a folder here, and has no `scheme://`. If it is a published model, name where: {commands}."""


class HostileFileName(OfAnyLayer, Refused):
    """The file name {text} is refused: {reason}."""


class CollidingFileNames(OfAnyLayer, Refused):
    """{first} and {second} would be the same file on some systems: their names differ only in case or Unicode form. Omit
    one of them, for example with `--exclude {pattern}`."""


class HostileFileNames(OfAnyLayer, Refused):
    """{what} has files whose names are not allowed on every system: {names}. Omit them: `{example}`."""


class LimitExceeded(OfAnyLayer, Refused):
    """{what} exceeds a limit: found {found}, at most {limit} is accepted."""


class BadSetting(Refused):
    """{where} is not usable: {reason}."""


class BadSecret(Refused):
    """The secret {path} is not usable: {reason}. Nothing was started. {advice}"""


class CatalogUnknown(Refused):
    """Prefect runs on another server ({server}), and no catalog is configured: its flows and this command would use
    different catalogs. Set MODELSHELF_CATALOG_URL, or `catalog_url` in {config}."""


class ServerSecretRefused(Refused):
    """The Prefect server {server} refused our secret (status {status}). Nothing was started. Set PREFECT_API_AUTH_STRING to
    the string that the server was started with, and run `modelshelf up --server URL` again."""
