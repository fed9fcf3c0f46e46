"""The `modelshelf` command. Reading commands ask the catalog; changing ones ask Prefect to run a deployment."""

from modelshelf.cli.main import main

__all__ = ["main"]
