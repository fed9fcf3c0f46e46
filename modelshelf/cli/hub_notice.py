"""The Hub's settings of this shell against those that runs have: they are processes of the worker, and get its environment."""

from __future__ import annotations

import os
from pathlib import Path

import click

from modelshelf.cli.state_file import Running
from modelshelf.settings import Settings
from modelshelf.sources import hub_environment


def show(settings: Settings) -> None:
    """Print which of the Hub's variables a run will not see as they are here. Values are not printed.

    Nothing is printed where there is no worker yet: it is started with this shell's environment.
    """
    running = Running.read(settings)
    if running is None or running.worker is None or not running.alive:
        return
    if names := hub_environment.differing(os.environ, _environment_of(running.worker.pid)):
        click.echo(
            f"{', '.join(names)}: the worker was started with another value than this shell's, and runs use the worker's. A "
            "stored login overrides both: `modelshelf login huggingface`. Or stop the worker: `modelshelf down`.",
            err=True,
        )


def _environment_of(pid: int) -> dict[str, str]:
    """The environment that a process of ours was started with; this shell's own where the system does not show it."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return dict(os.environ)
    pairs = (part.decode(errors="replace").partition("=") for part in content.split(b"\0") if part)
    return {name: value for name, _, value in pairs}
