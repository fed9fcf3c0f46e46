"""Which stored login is for which registry. A block's name has lower-case letters, digits and dashes alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from modelshelf.errors import BadName, LoginNotUsed, RedirectInside
from modelshelf.names import HostName
from modelshelf.sources.uri import HuggingFaceUri, OllamaUri, SourceUri
from modelshelf.wire import Url

_CODES = {".": "-", "-": "--d", ":": "--p", "[": "--l", "]": "--r"}


def block_name(host: HostName) -> str:
    """The name of a registry's block: another host never has the same.

    A dot becomes a dash. Every other sign becomes two dashes and a letter, and a dot is never followed by one, so the way back is
    certain.
    """
    text = host.text.lower()
    if ".." in text:
        raise BadName(text=repr(host.text), kind="host", expected="no two dots in a row")
    return "".join(_CODES.get(letter, letter) for letter in text)


def earlier_block_name(host: HostName) -> str:
    """The name until 0.1.0, which hosts that differ by dot, dash or colon had in common."""
    return host.text.lower().translate(str.maketrans(".:", "--", "[]"))


def origin_of(host: HostName, *, plain_http: bool) -> str:
    """The registry's address as its block records it."""
    return f"{'http' if plain_http else 'https'}://{host.text.lower()}"


def require_for(host: HostName, block: str, recorded: str, *, plain_http: bool) -> None:
    """Raise LoginNotUsed unless the block is certain to be this registry's: what it records decides.

    A block of before records nothing. The name of that time is certain only where no other host could have had it.
    """
    wanted = origin_of(host, plain_http=plain_http)
    if not recorded and "-" in block:
        reason = "it does not record its registry, and its name could stand for another registry"
        raise LoginNotUsed(block=block, host=host, reason=reason)
    if recorded and Url(recorded).origin != Url(wanted).origin:
        raise LoginNotUsed(block=block, host=host, reason=f"it is for {recorded}, not for {wanted}")


@contextmanager
def trusting(uri: SourceUri | None) -> Iterator[None]:
    """Add to a refused redirect, or realm, inside our network the command that makes its host a trusted one for the source.

    Nothing is added for a source without a login.
    """
    try:
        yield
    except RedirectInside as error:
        target, login = urlsplit(error.facts["target"]), _login_of(uri, error.facts["host"])
        if login and not error.outcome:
            plain = " --http" if isinstance(uri, OllamaUri) and target.scheme == "http" else ""
            command = f"modelshelf login {login}{plain} --no-secret --redirect-host {shlex.quote(target.netloc)}"
            error.outcome = f"Nothing was published. If you trust {target.netloc}, name it; a stored secret is kept: `{command}`."
        raise


def _login_of(uri: SourceUri | None, host: str) -> str:
    match uri:
        case OllamaUri():
            return f"ollama {uri.name.host}"
        case HuggingFaceUri():
            return "huggingface" if host == "huggingface.co" else f"huggingface --endpoint https://{host}"
    return ""
