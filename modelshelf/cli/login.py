"""`modelshelf login`, `logins`, `logout`: secrets in Prefect blocks, encrypted, never echoed."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import click

from modelshelf.cli import new_home, options
from modelshelf.cli.errors import NoSuchBlockType, NoSuchLogin
from modelshelf.names import HostName, InstanceName
from modelshelf.sources.logins import block_name, origin_of

SLUGS = {
    "huggingface": "modelshelf-hugging-face-hub",
    "ollama": "modelshelf-ollama-registry",
    "engine": "modelshelf-engine-key",
}
_SECRETS = {"huggingface": "token", "ollama": "secret", "engine": "key"}
"""The kinds of blocks, and the field of each that holds the secret."""


@click.command()
@click.argument("kind", metavar="huggingface|ollama|engine")
@click.argument("name", required=False)
@click.option("--endpoint", help="huggingface: the Hub's address.")
@click.option("--user", help="ollama: the user name for the secret.")
@click.option("--http", "plain_http", is_flag=True, help="ollama: use plain http, for a registry on this machine.")
@click.option(
    "--redirect-host",
    multiple=True,
    help="A trusted host in your network that it may redirect to, or that issues its tokens.",
)
@click.option("--no-secret", is_flag=True, help="Store the settings without a secret.")
def login(
    kind: str, name: str | None, endpoint: str | None, user: str | None, plain_http: bool, redirect_host: tuple[str, ...],
    no_secret: bool,
) -> None:  # fmt: skip
    """Store an access token, password or key, encrypted.

    The command asks for the secret, or reads it from standard input, and never prints it.

    \b
    Examples:
      modelshelf login huggingface                        a token for gated repositories
      modelshelf login ollama registry.example --user me  a registry's password
      modelshelf login ollama 127.0.0.1:5000 --http --no-secret
      modelshelf login engine front-door                  a key for `launch --key front-door`
    """
    from modelshelf.cli import launcher
    from modelshelf.settings import load_settings

    block = _block(kind, name)
    data: dict[str, object] = {}
    same: dict[str, object] = {}
    if kind == "huggingface" and endpoint:
        from modelshelf.sources.hub_environment import endpoint_of

        same["endpoint"] = endpoint_of(endpoint, where="--endpoint")
    if kind == "ollama":
        same["origin"] = origin_of(_host(name), plain_http=plain_http)
        data |= {"plain_http": plain_http} | ({"user": user} if user else {})
    data |= same
    if redirect_host:
        data["redirect_hosts"] = [str(HostName(host)) for host in redirect_host]
    if not no_secret:
        data[_SECRETS[kind]] = _read_secret(kind)
        if kind == "engine":
            from modelshelf.engines.keys import require_usable

            require_usable(str(data[_SECRETS[kind]]))
    api = launcher.ensure(load_settings(), lambda line: click.echo(line, err=True))
    api.save_block(SLUGS[kind], block, data, same=same)
    click.echo(f"Stored for {kind} as {block!r}.")


@click.command()
@options.as_json
@new_home.answered(new_home.nothing_yet([], "Store a login: modelshelf login huggingface"))
def logins(as_json: bool) -> None:
    """List the stored logins, without their secrets."""
    from modelshelf.cli import launcher, reading, tables
    from modelshelf.settings import load_settings

    kinds = {slug: kind for kind, slug in SLUGS.items()}
    api = launcher.ensure(load_settings(), lambda line: click.echo(line, err=True))
    found = [_login(kinds[block["block_type"]["slug"]], block) for block in api.blocks(SLUGS.values())]
    if as_json:
        tables.show_json(found)
        return
    rows = [
        (one["kind"], one["name"], one["address"], one["user"], "yes" if one["secret"] else "no", reading.ago(one["stored"]))
        for one in found
    ]
    empty = "There are no logins. Store one: modelshelf login huggingface"
    tables.show(("KIND", "NAME", "ADDRESS", "USER", "SECRET", "STORED"), rows, empty=empty, spare=("STORED", "USER"))


@click.command()
@click.argument("kind", metavar="huggingface|ollama|engine")
@click.argument("name", required=False)
def logout(kind: str, name: str | None) -> None:
    """Delete a stored login.

    \b
    Examples:
      modelshelf logout huggingface
      modelshelf logout ollama registry.example
      modelshelf logout engine front-door
    """
    from modelshelf.cli import launcher
    from modelshelf.settings import load_settings

    block = _block(kind, name)
    api = launcher.ensure(load_settings(), lambda line: click.echo(line, err=True))
    if not api.delete_block(SLUGS[kind], block):
        raise NoSuchLogin(kind=kind, name=name or block)
    click.echo(f"The login for {kind} {name or block} is deleted.")


def _block(kind: str, name: str | None) -> str:
    """Return the name of the block. Raises NoSuchBlockType, BadName."""
    if kind not in SLUGS:
        raise NoSuchBlockType(kind=repr(kind), known="huggingface, ollama or engine")
    return block_name(_host(name)) if kind == "ollama" else str(InstanceName(name or "default"))


def _host(name: str | None) -> HostName:
    return HostName(name or "registry.ollama.ai")


def _login(kind: str, block: dict[str, Any]) -> dict[str, Any]:
    """Return what may be shown of a block: never its secret, which the server hides besides."""
    data = block["data"]
    address = data.get("origin") or data.get("endpoint") or ""
    name = address.partition("://")[2] if kind == "ollama" and address else block["name"]
    return {
        "kind": kind,
        "name": name,
        "address": address,
        "user": data.get("user") or "",
        "secret": bool(data.get(_SECRETS[kind])),
        "stored": datetime.fromisoformat(block["updated"]).timestamp(),
    }


def _read_secret(kind: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(f"The secret for {kind} (not shown)", hide_input=True))
    secret = sys.stdin.readline().strip()
    if not secret:
        raise click.UsageError("Standard input held no secret. To store a login without one, add --no-secret.")
    return secret


COMMANDS = (login, logins, logout)
