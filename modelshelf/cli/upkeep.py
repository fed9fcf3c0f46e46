"""Commands that keep the library clean, true and warm: nodes, evict, clean, audit, disk."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from modelshelf.cli import new_home, options
from modelshelf.cli.deployments import Deployment
from modelshelf.names import ModelRef, ProjectName

if TYPE_CHECKING:
    from modelshelf.catalog.nodes import NodeRow
    from modelshelf.library.opening import Library


@click.command()
@click.option(
    "--budget", type=options.SIZE, metavar="SIZE", help="Set the space for replicas on this node (200GB); 0 for no limit."
)
@options.as_json
@new_home.answered(new_home.nothing_yet([]), unless="budget")
def nodes(budget: int | None, as_json: bool) -> None:
    """List the nodes, and this node's replicas and filesystems.

    Shows each replica's size, last use, and what protects it from eviction. Other nodes are shown as they recorded themselves.
    Needs no server.
    """
    from modelshelf.catalog import nodes as node_rows
    from modelshelf.catalog import replicas
    from modelshelf.cli import reading, tables
    from modelshelf.words import counted, said_bytes

    library = _library()
    if budget is not None:
        with library.catalog.writing() as connection:
            replicas.set_budget(connection, library.node_id, budget or None)
    with library.catalog.reading() as connection:
        kept = replicas.kept(connection, library.node_id)
        limit = replicas.budget(connection, library.node_id)
        known = node_rows.page(connection)
    used, node = sum(one.size for one in kept), str(library.node_at.name)
    mounted = [
        {"filesystem": name, "path": str(one.path), "region": one.region, "mounted": one.path.is_dir()}
        for name, one in sorted(library.settings.filesystems.items())
    ]
    if as_json:
        rows = [{"version": one.ref, "size": one.size, "last_use": one.last_use, "held": one.held} for one in kept]
        here = {"node": node, "region": library.node_at.region, "budget": limit, "used": used}
        others = [{"node": str(one.name), **_facts(one)} for one in known if one.name != library.node_at.name]
        tables.show_json([{**here, "replicas": rows, "filesystems": mounted}, *others])
        return
    shown = [(one.ref, said_bytes(one.size), reading.ago(one.last_use or None), one.held) for one in kept]
    tables.show(("REPLICA", "SIZE", "LAST USE", "HELD BY"), shown, empty="No version is cached on this node.")
    of = f" of {said_bytes(limit)}" if limit is not None else ""
    click.echo(f"\n{node}: {said_bytes(used)}{of} in {counted(len(kept), 'replica')}.")
    if mounted:
        click.echo()
        told = ("filesystem", "path", "region")
        there = [(*(str(one[key]) for key in told), "yes" if one["mounted"] else "no") for one in mounted]
        tables.show(("FILESYSTEM", "PATH", "REGION", "MOUNTED"), there, empty="")
    if len(known) > 1:
        click.echo()
        columns = ("NODE", "REGION", "REPLICAS", "SIZE", "BUDGET", "READY INSTANCES", "VERIFIED")
        of_all = [
            (
                str(one.name), one.region, str(one.replicas), said_bytes(one.used),
                said_bytes(one.budget) if one.budget is not None else "none", str(one.instances), reading.ago(one.seen_at),
            )
            for one in known
        ]  # fmt: skip
        tables.show(columns, of_all, empty="")


@click.command()
@click.argument("model", type=options.parsed(ModelRef.parse, "MODEL"), shell_complete=options.complete_models)
@options.project
@options.as_json
def evict(model: ModelRef, project: ProjectName, as_json: bool) -> None:
    """Remove a version's files from this node; the store keeps them.

    A replica that is pinned or in use is not removed.
    """
    from modelshelf.cli import follow
    from modelshelf.words import said_bytes

    parameters = {"model": str(model), "project": str(project)}
    done = follow.outcome(Deployment.EVICT_REPLICA, parameters, wait=True, as_json=as_json)
    if done is not None:
        click.echo(f"{model} ({said_bytes(done['size'])}) is no longer cached on this node.")


@click.command()
@click.option("--keep", default=2, show_default=True, help="How many of the newest versions of each model to keep.")
@click.option("--days", default=30.0, show_default=True, help="Keep versions that are younger than this many days.")
@options.project
@options.dry_run
@options.no_wait
@options.as_json
def clean(keep: int, days: float, project: ProjectName, dry_run: bool, no_wait: bool, as_json: bool) -> None:
    """Remove old versions that nothing refers to.

    Bytes that only they used are freed.

    \b
    Example: modelshelf clean --keep 3 --days 14 --dry-run
    """
    from modelshelf.cli import follow, tables
    from modelshelf.words import counted, said_bytes

    parameters = {"keep": keep, "days": days, "project": str(project), "dry_run": dry_run}
    done = follow.outcome(Deployment.CLEAN, parameters, wait=not no_wait, as_json=as_json)
    if done is None:
        return
    rows = [(one["ref"], one["why"], said_bytes(one["frees"])) for one in done["versions"]]
    tables.show(("VERSION", "WHY", "FREES"), rows, empty="No version is old enough to remove.")
    if dry_run:
        if rows:
            click.echo(f"\nThis would remove {counted(len(rows), 'version')} and free {said_bytes(done['frees'])}.")
        return
    for ref, why in done["left"]:
        click.echo(f"Kept: {ref}: {why}")
    if rows:
        click.echo(f"\nRemoved {counted(len(done['removed']), 'version')} and freed {said_bytes(done['freed'])}.")


@click.command()
@click.option(
    "--rehash", type=click.Choice(["none", "part", "all"]), is_flag=False, flag_value="all", default="none",
    help="Read the store's bytes and compare digests; `part` reads those that were read longest ago, as the nightly audit does.",
)  # fmt: skip
@click.option("--repair", is_flag=True, help="Repair each difference as the REPAIR column states.")
@options.no_wait
@options.as_json
def audit(rehash: str, repair: bool, no_wait: bool, as_json: bool) -> None:
    """Compare the catalog with what exists; repair on request.

    This covers the store, replicas and engines. The exit status is 1 if differences are left.

    \b
    Example: modelshelf audit --rehash
    """
    from modelshelf.cli import follow, tables

    done = follow.run(Deployment.AUDIT, {"rehash": rehash, "repair": repair}, wait=not no_wait, as_json=as_json)
    if done is None:
        return
    findings = done["findings"]
    left = sum(one["outcome"] != "repaired" for one in findings)
    if as_json:
        tables.show_json(findings)
    else:
        rows = [(one["kind"], one["what"], one["found"], one["outcome"] or one["repair"]) for one in findings]
        last = "OUTCOME" if repair else "REPAIR"
        tables.show(("DIFFERENCE", "WHAT", "FOUND", last), rows, empty="Catalog, store, replicas and engines agree.")
        if findings and repair:
            click.echo(f"\n{len(findings) - left} repaired, {left} left.")
        elif findings:
            repairs = {
                "none": "modelshelf audit --repair",
                "part": "modelshelf audit --rehash part --repair",
                "all": "modelshelf audit --rehash --repair",
            }  # without the hashing, a repair would not find what it mends
            click.echo(f"\nNothing was changed. Repair what can be repaired: {repairs[rehash]}")
    if left:
        raise SystemExit(1)


@click.command()
@options.project
@options.as_json
@new_home.answered(new_home.nothing_yet({}))
def disk(project: ProjectName, as_json: bool) -> None:
    """Show disk use, and what deleting each version would free.

    Needs no server.
    """
    from modelshelf.cli import tables
    from modelshelf.library.disk import report
    from modelshelf.words import said_bytes

    found = report(_library(), project)
    if as_json:
        tables.show_json(found)
        return
    rows = [(one.ref, said_bytes(one.size), said_bytes(one.shared), said_bytes(one.frees), one.held) for one in found.versions]
    tables.show(("VERSION", "SIZE", "SHARED", "FREED IF DELETED", "HELD"), rows, empty="No version is ready.")
    click.echo()
    parts = [
        ("images", found.images), ("replicas' own", found.replicas), ("instances' own", found.instances),
        ("partial downloads", found.partial), ("reserved for running imports", found.reserved),
        ("orphans", found.orphans), ("catalog", found.catalog), ("other", found.other),
        ("total", found.total), ("free", found.free),
    ]  # fmt: skip
    tables.show_facts([(name, said_bytes(size)) for name, size in parts])


COMMANDS = (nodes, evict, clean, audit, disk)


def _library() -> Library:
    from modelshelf.library.opening import Library
    from modelshelf.settings import load_settings

    return Library.open(load_settings())


def _facts(other: NodeRow) -> dict[str, object]:
    """What a node recorded of itself; which replicas it holds, only it knows in full."""
    return {key: value for key, value in asdict(other).items() if key != "name"}
