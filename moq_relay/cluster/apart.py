"""Work in a task of its own, for whoever goes on after it failed, or tidies up while it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def apart(work: Coroutine[Any, Any, T], name: str) -> T:
    """Run ``work`` in a task of its own; what it returns or raises, once it has ended.

    Until Python 3.13 a task group that fails may leave its task marked as cancelled, and may lose
    a cancellation that comes while it waits for its children: what runs for ever must not share
    its task with one. Until 3.11.3 (Debian 12 has 3.11.2) ``asyncio.timeout`` does not raise
    ``TimeoutError`` in a task so marked, nor in one that is being cancelled. A new task is neither.

    Raises:
        CancelledError: this task was cancelled; then so was ``work``, whatever it raised.
        RuntimeError: ``work`` was cancelled though nobody asked for it.
    """
    task = asyncio.get_running_loop().create_task(work, name=name)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
            task.cancel()
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # or asyncio would say that nobody heard of it
        raise cancelled
    if task.cancelled():
        raise RuntimeError(f"{name} was cancelled by nobody")
    return task.result()
