"""Blocking work, off the event loop, that ends before anyone goes on without it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import TypeVar

from modelshelf.stop import StopToken

T = TypeVar("T")


async def in_thread(work: Callable[[StopToken], T], meanwhile: Callable[[], Awaitable[None]] | None = None) -> T:
    """What `work` returns, run in a thread; `meanwhile` runs beside it and is cancelled when it ends.

    If the run is cancelled or terminated, the thread is told to stop and waited for, and only then the cancellation goes
    on: a lease is never released while its thread still writes.
    """
    stop = StopToken()
    context = contextvars.copy_context()
    thread = asyncio.get_running_loop().run_in_executor(None, lambda: context.run(work, stop))
    beside = asyncio.ensure_future(meanwhile()) if meanwhile is not None else None
    try:
        return await asyncio.shield(thread)
    except BaseException:
        stop.set()
        await asyncio.wait([thread])
        raise
    finally:
        if beside is not None:
            beside.cancel()
            await asyncio.wait([beside])
