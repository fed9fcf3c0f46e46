"""Commands about models: import, register, list, show, cache, delete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from modelshelf.cli import new_home, options
from modelshelf.cli.deployments import Deployment
from modelshelf.names import CATEGORIES, InstanceName, ModelName, ModelRef, ProjectName
from modelshelf.sources.uri import FilesystemUri, FolderUri, InstanceUri, OllamaUri, SourceUri
from modelshelf.states import VersionState

if TYPE_CHECKING:
    from modelshelf.catalog.versions import Version


@click.command("import")
@click.argument("source", type=options.parsed(options.source, "SOURCE"))
@click.option("--name", type=options.parsed(ModelName, "NAME"), help="The model's name in the library.")
@click.option("--category", type=click.Choice(CATEGORIES), help="What the model is used for.  [default: as its files indicate]")
@click.option("--include", multiple=True, metavar="PATTERN", help="Import only files that match (hf://, folders).")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Omit files that match (hf://, folders).")
@click.option(
    "--allow-code",
    is_flag=True,
    help="Import the publisher's code too, and allow a configuration that names code (auto_map).",
)
@click.option("--hub", default="default", show_default=True, help="The stored Hub login to use (hf://).")
@options.project
@options.dry_run
@options.no_wait
@options.as_json
def import_(
    source: SourceUri, name: ModelName | None, category: str | None, include: tuple[str, ...], exclude: tuple[str, ...],
    allow_code: bool, hub: str, project: ProjectName, dry_run: bool, no_wait: bool, as_json: bool,
) -> None:  # fmt: skip
    """Import a model: pin, fetch, verify, pack and list it.

    Files that the store already holds are not fetched again, whichever source they came from. An interrupted import resumes
    where it stopped.

    \b
    Examples:
      modelshelf import ollama://qwen3:0.6b
      modelshelf import hf://Qwen/Qwen3-0.6B-GGUF:Q8_0 --name qwen3
      modelshelf import hf://org/repo@v1.2 --exclude 'onnx/*' --dry-run
      modelshelf import https://huggingface.co/org/repo/tree/v1.2
      modelshelf import ./my-finetune.gguf --name mine
      modelshelf import ./quantised:Q4_K_M
    """
    from modelshelf.cli import follow, hub_notice
    from modelshelf.settings import load_settings

    parameters: dict[str, Any] = {
        "project": str(project),
        "category": category or "",
        "dry_run": dry_run,
        "name": str(name or ""),
    }
    if isinstance(source, OllamaUri):
        if include or exclude:
            raise click.UsageError("--include and --exclude are for hf:// and folders; a registry's model is imported whole.")
        deployment = Deployment.IMPORT_OLLAMA
        parameters["model"] = str(source.name)
    elif isinstance(source, FolderUri):
        deployment = Deployment.IMPORT_FOLDER
        parameters |= {
            "path": str(source).removeprefix("file://"),
            "include": list(include),
            "exclude": list(exclude),
            "allow_code": allow_code,
        }
    elif isinstance(source, InstanceUri):
        raise click.UsageError(f"Use `modelshelf save {source.instance} {source.name}` for a model inside an instance.")
    elif isinstance(source, FilesystemUri):
        raise click.UsageError(f"modelshelf register {source} leaves the files in place; file://… copies them.")
    else:
        deployment = Deployment.IMPORT_HUGGINGFACE
        parameters |= {"allow_code": allow_code}
        parameters |= {"repo": str(source.repo), "revision": str(source.revision), "hub": hub}
        hub_notice.show(load_settings())
        parameters |= {"quantization": source.quantization or "", "include": list(include), "exclude": list(exclude)}
    plan = follow.outcome(deployment, parameters, wait=not no_wait, as_json=as_json)
    if plan is not None:
        say_import(plan, project, dry_run=dry_run)


@click.command()
@click.argument("source", type=options.parsed(options.filesystem, "fs://FILESYSTEM/FOLDER"))
@click.option("--name", type=options.parsed(ModelName, "NAME"), help="The model's name in the library.")
@click.option("--category", type=click.Choice(CATEGORIES), help="What the model is used for.  [default: as its files indicate]")
@click.option("--include", multiple=True, metavar="PATTERN", help="Register only files that match.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Omit files that match.")
@click.option("--hash", is_flag=True, help="Read every byte and record digests for audits.")
@click.option(
    "--allow-code",
    is_flag=True,
    help="Import the publisher's code too, and allow a configuration that names code (auto_map).",
)
@options.project
@options.dry_run
@options.no_wait
@options.as_json
def register(
    source: FilesystemUri, name: ModelName | None, category: str | None, include: tuple[str, ...], exclude: tuple[str, ...],
    hash: bool, allow_code: bool, project: ProjectName, dry_run: bool, no_wait: bool, as_json: bool,
) -> None:  # fmt: skip
    """Register a folder of a shared filesystem in place.

    The filesystem is named in config.toml, and its region becomes the version's: engines run where it is mounted. If a file
    changes later, the next launch is refused.

    \b
    Examples:
      modelshelf register fs://shared/models/my-finetune
      modelshelf register fs://shared/models/my-finetune --hash --dry-run
    """
    from modelshelf.cli import follow, tables
    from modelshelf.words import counted, said_bytes

    parameters: dict[str, Any] = {
        "filesystem": str(source.filesystem), "folder": str(source).removeprefix(f"fs://{source.filesystem}/"),
        "name": str(name or ""), "category": category or "",
        "include": list(include), "exclude": list(exclude), "hash": hash, "allow_code": allow_code, "project": str(project),
        "dry_run": dry_run,
    }  # fmt: skip
    plan = follow.outcome(Deployment.REGISTER_FILESYSTEM, parameters, wait=not no_wait, as_json=as_json)
    if plan is None:
        return
    if dry_run:
        tables.show(("FILE", "SIZE"), [(path, said_bytes(size)) for path, size in plan["files"]], empty="")
        click.echo()
    _say_left_out(plan["left_out"])
    what = f"{plan['source']}, {counted(len(plan['files']), 'file')}, {said_bytes(plan['total'])}, region {plan['region']}"
    is_now = "is already registered" if plan["ready"] else "would be registered" if dry_run else "is ready"
    click.echo(f"{plan['ref']} {is_now}: {what}. Nothing is copied.")
    if not dry_run:
        _say_category(plan["ref"], project)


@click.command("list")
@click.argument("matching", required=False)
@click.option("--format", "--type", "format", type=click.Choice(["gguf", "safetensors", "ollama"]), help="Only this format.")
@click.option("--category", type=click.Choice(CATEGORIES), help="Only this category.")
@click.option("--state", type=click.Choice(["ready", "disabled", "importing", "failed", "registered"]), help="Only this state.")
@click.option("--source", metavar="TEXT", help="Only sources that contain TEXT: `hf://`, `ollama://someone`, a repository.")
@click.option("--sort", type=click.Choice(["newest", "name", "size"]), default="newest", show_default=True, help="Sort order.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The most rows to list.")
@options.project
@options.as_json
@new_home.answered(new_home.nothing_yet([]))
def list_(
    matching: str | None, format: str | None, category: str | None, state: str | None, source: str | None, sort: Any,
    limit: int, project: ProjectName, as_json: bool,
) -> None:  # fmt: skip
    """List versions. Needs no server.

    MATCHING is part of the model's name.

    \b
    Examples:
      modelshelf list
      modelshelf list qwen --format ollama --json
      modelshelf list --category embedding --sort size
      modelshelf list --state failed --source hf://
    """
    from modelshelf.catalog import versions
    from modelshelf.catalog.leases import holding
    from modelshelf.cli import reading, tables
    from modelshelf.formats.kinds import Format
    from modelshelf.words import said_bytes

    with reading.open_catalog().reading() as connection:
        only = Format(format) if format else None
        found = versions.page(
            connection, project, limit=limit, category=category, format=only, state=state, source=source, matching=matching,
            order=sort,
        )  # fmt: skip
        interrupted = {one.id for one in found if one.state == VersionState.IMPORTING and holding(connection, one.lease) is None}
    if as_json:
        tables.show_json([_version_json(one, interrupted=one.id in interrupted) for one in found])
        return
    rows = [
        (
            str(one.ref),
            ", ".join(map(str, one.aliases)),
            "interrupted" if one.id in interrupted else _state(one),
            one.format or "",
            one.facts.quantization or one.facts.precision or "",
            said_bytes(one.size) if one.size is not None else "",
            one.publisher,
            one.image.short if one.image else f"on {one.filesystem}" if one.filesystem else "",
            reading.ago(one.ready_at or one.created_at),
        )
        for one in found
    ]
    columns = ("MODEL", "ALSO", "STATE", "FORMAT", "QUANT", "SIZE", "PUBLISHER", "IMAGE", "SINCE")
    asked = any((matching, format, category, state, source))
    nothing = "No version matches." if asked else "The library is empty. Import a model: modelshelf import ollama://qwen3:0.6b"
    tables.show(columns, rows, empty=nothing, spare=("IMAGE", "ALSO", "SINCE", "PUBLISHER", "FORMAT"))


@click.command()
@click.argument("model", type=options.parsed(ModelRef.parse, "MODEL"), shell_complete=options.complete_models)
@options.project
@options.as_json
@new_home.answered(new_home.no_model("model"))
def show(model: ModelRef, project: ProjectName, as_json: bool) -> None:
    """Show a version: source, pin, files, replicas, instances.

    Needs no server.
    """
    from modelshelf.catalog import instances, places, replicas, versions
    from modelshelf.cli import reading, tables
    from modelshelf.library.categories import disagreement
    from modelshelf.words import said_bytes

    with reading.open_catalog().reading() as connection:
        one = versions.find(connection, project, model)
        files = places.files(connection, project, one) if one.state == VersionState.READY else ()
        cached = replicas.of_version(connection, one.id)
        twins = versions.same_content(connection, project, one) if one.image else []
        serving = [i for i in instances.page(connection, project) if any(s.version_id == one.id for s in i.serves)]
    if as_json:
        tables.show_json(
            {
                **_version_json(one, interrupted=False),
                "files": [{"path": str(f.path), "size": f.size, "digest": str(f.digest or ""), "role": f.role} for f in files],
                "replicas": [asdict(replica) for replica in cached],
                "instances": [str(instance.name) for instance in serving],
                "same_content": [str(twin.ref) for twin in twins],
            }
        )
        return
    facts = one.facts
    tables.show_facts(
        [
            ("model", one.ref),
            ("also called", ", ".join(map(str, one.aliases))),
            ("state", f"{_state(one)}: {one.reason}" if one.reason else _state(one)),
            ("auto-cache", "yes: it is cached on every node" if one.auto_cache else None),
            ("category", f"{one.category}: {found}" if (found := disagreement(one)) else one.category),
            ("visible to", one.visibility),
            ("publisher", one.publisher),
            ("source", one.source),
            ("pin", one.resolved),
            ("image", one.image),
            ("in place", f"on the filesystem {one.filesystem}, region {one.region}" if one.in_place else None),
            ("format", one.format),
            ("architecture", facts.architecture),
            ("parameters", f"{facts.parameters:,}" if facts.parameters else None),
            ("quantisation", facts.quantization or facts.precision),
            ("context length", facts.context_length),
            ("chat template", "included" if facts.chat_template else None),
            ("model file", one.parts.model if one.parts else None),
            ("projectors", ", ".join(map(str, one.parts.projectors)) if one.parts else None),
            ("adapters", ", ".join(map(str, one.parts.adapters)) if one.parts else None),
            ("draft models", ", ".join(map(str, one.parts.drafts)) if one.parts else None),
            ("licence", one.license),
            ("size", f"{said_bytes(one.size)} ({one.size:,} bytes)" if one.size is not None else None),
            ("cached on", ", ".join(f"{replica.node} ({replica.observed})" for replica in cached)),
            ("served by", ", ".join(f"{instance.name} ({instance.state})" for instance in serving)),
            ("same content", ", ".join(str(twin.ref) for twin in twins)),
        ]
    )
    rows = [
        (str(file.path), file.role, said_bytes(file.size), f"sha256:{file.digest.short}…" if file.digest else "not recorded")
        for file in files
    ]
    if rows:
        click.echo()
        tables.show(("FILE", "ROLE", "SIZE", "DIGEST"), rows, empty="")


@click.command()
@click.argument("model", type=options.parsed(ModelRef.parse, "MODEL"), shell_complete=options.complete_models)
@click.option("--node", default="", help="The node's name; without it, this machine's.")
@click.option("--pin", is_flag=True, help="Never evict this replica.")
@click.option("--auto", is_flag=True, help="Cache it again whenever it is missing.")
@options.project
@options.dry_run
@options.no_wait
@options.as_json
def cache(
    model: ModelRef, node: str, pin: bool, auto: bool, project: ProjectName, dry_run: bool, no_wait: bool, as_json: bool
) -> None:
    """Cache a version's files on a node before they are needed.

    The files are hard links to the store where the file system supports them, and verified copies otherwise.

    \b
    Example: modelshelf cache qwen3:0.6b --pin
    """
    from modelshelf.cli import follow
    from modelshelf.words import counted, said_bytes

    parameters = {
        "model": str(model), "node": node, "pin": pin, "auto": auto, "project": str(project), "dry_run": dry_run,
    }  # fmt: skip
    plan = follow.outcome(Deployment.CACHE_VERSION, parameters, wait=not no_wait, as_json=as_json)
    if plan is None:
        return
    would = "would be" if dry_run else "is" if plan["there"] else "is now"
    what = f"{counted(plan['files'], 'file')}, {said_bytes(plan['size'])}, {said_bytes(plan['to_copy'])} to copy"
    click.echo(f"{plan['ref']} {would} cached on {plan['node']} ({what}).")
    for evicted in plan["evicts"]:
        click.echo(f"{evicted} {'would be' if dry_run else 'was'} evicted to make room.")


@click.command()
@click.argument("name")
@click.option("--instance", is_flag=True, help="NAME is an instance: stop it, and remove it and its log.")
@options.project
@options.dry_run
@options.no_wait
@options.as_json
def delete(name: str, instance: bool, project: ProjectName, dry_run: bool, no_wait: bool, as_json: bool) -> None:
    """Delete a version that nothing uses, or an instance.

    Bytes that only this version used are freed. If the version is in use, the deletion is refused and every user is named.

    \b
    Examples:
      modelshelf delete qwen3:0.6b --dry-run
      modelshelf delete --instance qwen3
    """
    from modelshelf.cli import follow
    from modelshelf.words import said_bytes

    if instance:
        if dry_run:
            raise click.UsageError("--dry-run is for versions; `modelshelf instances` lists instances.")
        parameters: dict[str, Any] = {"instance": str(InstanceName(name)), "project": str(project), "delete": True}
        if follow.run(Deployment.STOP_INSTANCE, parameters, wait=not no_wait, as_json=as_json) is not None:
            click.echo(f"{name} is gone." if not as_json else '{"deleted": true}')
        return
    parameters = {"model": str(ModelRef.parse(name)), "project": str(project), "dry_run": dry_run}
    plan = follow.outcome(Deployment.DELETE_VERSION, parameters, wait=not no_wait, as_json=as_json)
    if plan is None:
        return
    would = "would free" if dry_run else "freed"
    stays = f"; {said_bytes(plan['keeps'])} stay because other versions use them" if plan["keeps"] else ""
    stays += f"; its files stay on the filesystem {plan['filesystem']}" if plan["filesystem"] else ""
    click.echo(f"Deleting {plan['ref']} {would} {said_bytes(plan['frees'])}{stays}.")


COMMANDS = (import_, register, list_, show, cache, delete)


def say_import(plan: dict[str, Any], project: ProjectName, *, dry_run: bool) -> None:
    from modelshelf.cli import tables
    from modelshelf.words import said_bytes

    if dry_run:
        rows = [(file["path"], said_bytes(file["size"]), "fetch" if file["fetch"] else "in store") for file in plan["files"]]
        tables.show(("FILE", "SIZE", "TO DO"), rows, empty="")
        click.echo()
        _say_left_out(plan["left_out"])  # a run that imports has printed them before it fetched
    named = f"{plan['model']}:{plan['version']}"
    moved = f"{said_bytes(plan['moved'])} of {said_bytes(plan['total'])}"
    free = f"{said_bytes(plan['free_after'])} free on disk afterwards"
    if plan["ready"]:
        click.echo(f"{named} is already in the library; nothing was fetched.")
    elif dry_run:
        click.echo(f"{named} would be imported: {moved} to fetch, {free}.")
    else:
        click.echo(f"{named} is ready: {moved} were fetched, {free}.")
    if not dry_run:
        _say_category(named, project)
        if not plan["ready"]:
            say_how_to_serve(named, project)


def _say_category(ref: str, project: ProjectName) -> None:
    """Print the category, and where the files of the version disagree."""
    from modelshelf.catalog import versions
    from modelshelf.cli import reading
    from modelshelf.library.categories import disagreement

    with reading.open_catalog().reading() as connection:
        version = versions.find(connection, project, ModelRef.parse(ref))
    click.echo(f"Category: {version.category}.{' ' + found if (found := disagreement(version)) else ''}")


def say_how_to_serve(named: str, project: ProjectName) -> None:
    """Print the command that serves the version; where no engine that serves it is installed, what to install."""
    from modelshelf.catalog import versions
    from modelshelf.library.explaining import how_to_serve
    from modelshelf.library.opening import Library
    from modelshelf.settings import load_settings

    library = Library.open(load_settings())
    with library.catalog.reading() as connection:
        target = versions.find(connection, project, ModelRef.parse(named))
    how = how_to_serve(library, project, target)
    if how is not None and how.hinders:
        click.echo(f"No engine on this machine can serve it yet: {how.because} {how.command}")
    elif how is not None:
        click.echo(f"Serve it: {how.command}")


def _state(one: Version) -> str:
    """Return the state as a person means it: a version that cannot be launched anew is not just ready."""
    return "disabled" if one.state == VersionState.READY and one.disabled else one.state


def _say_left_out(lines: Sequence[str]) -> None:
    from modelshelf.words import by_reason

    for line in by_reason(lines):
        click.echo(f"Left out: {line}")


def _version_json(one: Any, *, interrupted: bool) -> dict[str, Any]:
    plain = asdict(one)
    plain["facts"] = {key: value for key, value in plain["facts"].items() if value is not None}
    texts = {key: str(plain_value) for key in ("project", "model", "name") if (plain_value := getattr(one, key))}
    return {
        **plain,
        **texts,
        "ref": str(one.ref),
        "publisher": one.publisher,
        "aliases": [str(alias) for alias in one.aliases],
        "image": str(one.image) if one.image else None,
        "parts": one.parts.to_json() if one.parts else None,
        "interrupted": interrupted,
    }
