"""How far a long step is: in bytes, in the catalog for the command and as a picture in the UI."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from modelshelf.catalog import journal
from modelshelf.library.importing import Meter
from modelshelf.stop import StopToken
from tasks import reports
from tasks.library import library, run_id
from tasks.threads import in_thread

T = TypeVar("T")

_SAMPLE_SECONDS = 0.25
_ARTIFACT_SECONDS = 1.0


async def shown(stage: str, subject: str, total: int, work: Callable[[StopToken, Meter], T]) -> T:
    """What `work` returns, run in a thread; the bytes that it meters are seen while it runs."""
    meter = Meter(total)

    def save(done: int) -> None:
        with library().catalog.writing() as connection:
            journal.record_progress(connection, run_id(), journal.Progress(stage, done, total))

    async def show() -> None:
        if not total:  # nothing to look at
            return
        artifact = await reports.begin_progress(stage, subject, total)
        began = last = time.monotonic()
        saved = -1
        while True:
            await asyncio.sleep(_SAMPLE_SECONDS)
            if (done := meter.sample()) != saved:
                await asyncio.to_thread(save, done)
                saved = done
            if time.monotonic() - last >= _ARTIFACT_SECONDS:
                last = time.monotonic()
                await reports.update_progress(artifact, done, total, seconds=last - began)

    result = await in_thread(lambda stop: work(stop, meter), meanwhile=show)
    await asyncio.to_thread(save, total)
    return result
