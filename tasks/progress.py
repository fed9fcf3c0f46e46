"""How far a long step is: in bytes, in the catalog for the command and as a picture in the UI."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from modelshelf.catalog import journal
from modelshelf.errors import ModelshelfError
from modelshelf.library.importing import Meter
from modelshelf.stop import StopToken
from modelshelf.words import said_bytes, said_seconds
from tasks import logs
from tasks.library import library, run_id
from tasks.pages import Card
from tasks.threads import in_thread

T = TypeVar("T")

_SAMPLE_SECONDS = 0.25
_CARD_SECONDS = 1.0


async def shown(stage: str, subject: str, total: int, work: Callable[[StopToken, Meter], T]) -> T:
    """Return what `work` returns, run in a thread; the bytes that it meters are shown while it runs.

    At the end the card and the catalog say that all bytes are done, or the card says why not.
    """
    if not total:
        return await in_thread(lambda stop: work(stop, Meter(0)))
    meter, card, began = Meter(total), Card(stage, subject, total), time.monotonic()

    def save(done: int) -> None:
        with library().catalog.writing() as connection:
            journal.record_progress(connection, run_id(), journal.Progress(stage, done, total))

    async def show() -> None:
        await card.show(0, seconds=0)
        last, saved = time.monotonic(), -1
        while True:
            await asyncio.sleep(_SAMPLE_SECONDS)
            if (done := meter.sample()) != saved:
                await asyncio.to_thread(save, done)
                saved = done
            if time.monotonic() - last >= _CARD_SECONDS:
                last = time.monotonic()
                await card.show(done, seconds=last - began)

    try:
        result = await in_thread(lambda stop: work(stop, meter), meanwhile=show)
    except ModelshelfError as error:
        await card.fail(meter.sample(), error)
        raise
    took = time.monotonic() - began
    await asyncio.to_thread(save, total)
    await card.complete(took)
    logs.say(f"{stage.capitalize()} {subject}: {said_bytes(total)} in {said_seconds(took)}.")
    return result
