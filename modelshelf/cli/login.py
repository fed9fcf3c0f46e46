"""`modelshelf login`: a secret into a Prefect block, encrypted, never echoed."""

from __future__ import annotations

import sys

import click

from modelshelf.cli.errors import NoSuchBlockType
from modelshelf.names import HostName, InstanceName
from modelshelf.sources.logins import block_name, origin_of


@click.command()
@click.argument("kind", metavar="huggingface|ollama|engine")
@click.argument("name", required=False)
@click.option("--endpoint", help="huggingface: the Hub's address.")
@click.option("--user", help="ollama: the user that the secret belongs to.")
@click.option("--http", "plain_http", is_flag=True, help="ollama: plain http, for a registry on this machine.")
@click.option(
    "--redirect-host",
    multiple=True,
    help="A host in our network that it may redirect to, or whose tokens need the login.",
)
@click.option("--no-secret", is_flag=True, help="Store the other settings; there is no secret.")
def login(
    kind: str, name: str | None, endpoint: str | None, user: str | None, plain_http: bool, redirect_host: tuple[str, ...],
    no_secret: bool,
) -> None:  # fmt: skip
    """Store an access token or password, encrypted. It is asked for, or read from standard input; never echoed.

    \b
    Examples:
      modelshelf login huggingface                        a token for gated repositories
      modelshelf login ollama registry.example --user me  a registry's password
      modelshelf login ollama 127.0.0.1:5000 --http --no-secret
      modelshelf login engine front-door                  a key for `launch --key front-door`
    """
    from modelshelf.cli import launcher
    from modelshelf.settings import load_settings

    data: dict[str, object] = {}
    same: dict[str, object] = {}
    match kind:
        case "huggingface":
            slug, field, block = "modelshelf-hugging-face-hub", "token", str(InstanceName(name or "default"))
            same |= {"endpoint": endpoint.rstrip("/")} if endpoint else {}
            data |= same
        case "ollama":
            host = HostName(name or "registry.ollama.ai")
            slug, field = "modelshelf-ollama-registry", "secret"
            block, same["origin"] = block_name(host), origin_of(host, plain_http=plain_http)
            data |= {**same, "plain_http": plain_http} | ({"user": user} if user else {})
        case "engine":
            slug, field, block = "modelshelf-engine-key", "key", str(InstanceName(name or "default"))
        case _:
            raise NoSuchBlockType(kind=repr(kind), known="huggingface, ollama or engine")
    if redirect_host:
        data["redirect_hosts"] = [str(HostName(host)) for host in redirect_host]
    if not no_secret:
        data[field] = _read_secret(kind)
        if kind == "engine":
            from modelshelf.engines.keys import require_usable

            require_usable(str(data[field]))
    api = launcher.ensure(load_settings(), lambda line: click.echo(line, err=True))
    api.save_block(slug, block, data, same=same)
    click.echo(f"Stored for {kind} as {block!r}.")


def _read_secret(kind: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(f"The secret for {kind} (not shown)", hide_input=True))
    secret = sys.stdin.readline().strip()
    if not secret:
        raise click.UsageError("No secret came on standard input. With none to store, add --no-secret.")
    return secret


COMMANDS = (login,)
