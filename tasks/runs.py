"""Looking after runs themselves."""

from __future__ import annotations

from modelshelf.cli import launcher, lost
from modelshelf.settings import load_settings
from modelshelf.stop import StopToken
from tasks import logs
from tasks.library import in_run
from tasks.retries import step
from tasks.threads import in_thread


@step
async def conclude_lost() -> list[str]:
    """End the runs whose process is gone, where server and runner are this machine's own; return their names."""

    def work(_stop: StopToken) -> list[str]:
        settings = load_settings()
        running = launcher.Running.read(settings)
        if not in_run() or running is None or running.server is None or settings.workers:
            return []
        api = launcher.find(settings)
        return [run["name"] for run in lost.conclude(api)] if api is not None else []

    ended = await in_thread(work)
    for name in ended:
        logs.say(f"The run {name} was interrupted: its process is gone.")
    return ended
