"""Which stored login is for which registry. A block's name has lower-case letters, digits and dashes alone."""

from __future__ import annotations

from modelshelf.errors import BadName, LoginNotUsed
from modelshelf.names import HostName
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
