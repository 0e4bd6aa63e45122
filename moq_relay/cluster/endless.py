"""A loop that never ends of itself: if it does, that is a bug of ours and must be seen."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def endless(loop: Coroutine[Any, Any, None]) -> None:
    """Run ``loop`` until this task is cancelled.

    A task group takes a child that ends, or is hit by a stray ``CancelledError`` (that of a future
    which somebody else cancelled), for one that is done. A registry without its renewals would look
    well and lose its lease.

    Raises:
        RuntimeError: it ended though nobody asked for it.
    """
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    try:
        await loop
    except asyncio.CancelledError:
        if task.cancelling():
            raise
    raise RuntimeError(f"{task.get_name()} ended")
