"""Completion: the scripts for the shells, and the names that the catalog and the server know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, get_completion_class

from modelshelf.errors import ModelshelfError
from modelshelf.names import ProjectName
from modelshelf.settings import load_settings

_NEWEST = 500
"""How many versions or runs are offered at most."""


class _Bash(BashComplete):
    """Click's script for bash, for names with a colon in them.

    Readline ends a word at a colon and replaces only what follows the last one. So the line is split at blanks here, and
    the part before the last colon is cut off each answer.
    """

    source_template: ClassVar[str] = """\
%(complete_func)s() {
    local line="${COMP_LINE:0:COMP_POINT}" current="" before="" type value number
    local -a words
    read -ra words <<< "$line"
    number=${#words[@]}
    if [[ $line != *[[:space:]] ]]; then
        number=$((number - 1))
        current="${words[number]}"
    fi
    if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
        before="${current%%:*}:"
    fi
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case $type in
            dir) compopt -o dirnames 2> /dev/null ;;
            file) compopt -o default 2> /dev/null ;;
            plain) COMPREPLY+=("${value#"$before"}") ;;
        esac
    done < <(env COMP_WORDS="$line" COMP_CWORD=$number %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


def script(command: click.Command, shell: str) -> str:
    """Return the script that makes the shell complete the command."""
    add_completion_class(_Bash, "bash")
    found = get_completion_class(shell)
    assert found is not None, "the choices of the command are the shells that click knows"
    return found(command, {}, "modelshelf", "_MODELSHELF_COMPLETE").source()


def models(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the versions and aliases that begin with what was typed."""
    from modelshelf.catalog import versions

    def names(connection: Any, project: ProjectName) -> Iterable[str]:
        for version in versions.page(connection, project, limit=_NEWEST):
            yield from (f"{version.model}:{tag}" for tag in (*version.aliases, version.name))

    return _known(ctx, incomplete, names)


def instances(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from modelshelf.catalog import instances as queries

    return _known(ctx, incomplete, lambda connection, project: (str(one.name) for one in queries.page(connection, project)))


def templates(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from modelshelf.catalog import templates as queries

    return _known(ctx, incomplete, lambda connection, project: (one.name for one in queries.page(connection, project)))


def runs(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """Return the newest runs of the server that is up; none is started."""
    from modelshelf.cli import launcher

    try:
        api = launcher.find(load_settings())
        found = api.runs(_NEWEST // 10) if api is not None else []
    except ModelshelfError:
        return []
    return [
        CompletionItem(run["id"][:8], help=f"{run['name']} ({run['state_name']})")
        for run in found
        if run["id"].startswith(incomplete)
    ]


def _known(ctx: click.Context, incomplete: str, names: Callable[[Any, ProjectName], Iterable[str]]) -> list[str]:
    from modelshelf.cli.reading import open_catalog

    project = ctx.params.get("project") or "default"
    try:
        with open_catalog().reading() as connection:
            found = set(names(connection, project if isinstance(project, ProjectName) else ProjectName(project)))
    except ModelshelfError:
        return []
    return sorted(name for name in found if name.startswith(incomplete))
