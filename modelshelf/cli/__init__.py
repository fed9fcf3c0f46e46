"""The `modelshelf` command. Reading commands ask the catalog; changing ones ask Prefect to run a deployment."""

import gc

gc.set_threshold(100_000)  # most commands are over before collecting pays: it took a third of the time of `list`

from modelshelf.cli.main import main  # noqa: E402

__all__ = ["main"]
