"""Whose a version is, and of which branch: what a source's written form says of both."""

from __future__ import annotations

LOCAL = "local"
"""The publisher of what came from this library's own machines: a folder, a registered filesystem, an instance."""


def publisher_of(source: str) -> str:
    """Return the publisher that a source's written form names: `hf://org`, `ollama://library`, `ollama://host/namespace`.

    A repository of the Hub has the same publisher when Ollama's name for it (`hf.co/org/repo`) is used. A repository of
    the Hub without an organisation is its own publisher.
    """
    scheme, separator, name = source.partition("://")
    if not separator or scheme in ("file", "fs", "instance"):
        return LOCAL
    path = name if scheme == "ollama" else name.partition("@")[0].partition(":")[0]
    owner, slash, repository = path.rpartition("/")
    if scheme == "ollama":
        host, _, organisation = owner.partition("/")
        if host.lower() in ("hf.co", "huggingface.co") and organisation:
            return f"hf://{organisation}"
        return f"ollama://{owner or 'library'}"
    return f"{scheme}://{owner if slash else repository}"


def branch_of(source: str) -> str | None:
    """Return the branch, tag or commit of a Hub repository as the source spells it; None for every other source.

    Two branches can share an alias, in which `/` is `-`.
    """
    scheme, _, name = source.partition("://")
    return (name.partition(":")[0].partition("@")[2] or "main") if scheme == "hf" else None
