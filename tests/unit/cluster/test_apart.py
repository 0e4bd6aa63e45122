"""What runs for ever outlives what fails in it, and ends when it is told to, on every Python."""

import asyncio
import logging

import pytest

from moq_relay.cluster.apart import apart
from moq_relay.cluster.memory import MemoryRoad, MemoryStore
from moq_relay.cluster.redis import RedisRoad, _Down
from moq_relay.cluster.registry import Registry
from moq_relay.cluster.road import Lost
from moq_relay.cluster.rootroad import RootRoad
from moq_relay.cluster.status import RegistrySettings
from moq_relay.errors import SessionClosed
from tests.support.own_client import until


class Failing:
    """A group that fails while it is waited for, and takes some turns to end its children."""

    def __init__(self, error):
        self.times = 0
        self.ending = asyncio.Event()
        self._error = error

    async def __call__(self, *_arguments):
        self.times += 1
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._slow())
            tasks.create_task(self._fail())

    async def _fail(self):
        raise self._error

    async def _slow(self):
        try:
            await asyncio.Event().wait()
        finally:
            self.ending.set()
            for _ in range(10):
                await asyncio.sleep(0)


async def cancelled(task):
    """Cancel a task; whether that ended it, within a second."""
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=1.0)
    ended = task in done and task.cancelled()
    task.cancel()
    await asyncio.wait([task])
    return ended


async def run_out():
    """Whether a timeout is a timeout here."""
    try:
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()
    except TimeoutError:
        return True
    except asyncio.CancelledError:
        return False


def redis_road(failing):
    road = RedisRoad(None, max_backoff=0.01)
    road._session = failing
    return road


def root_road(failing):
    road = RootRoad(["https://root/"], connect=None, max_backoff=0.01)

    async def live(*_arguments):
        try:
            await failing()
        except* SessionClosed:
            pass
        return "it failed"

    road._live = live
    return road


ROADS = pytest.mark.parametrize(
    ("make", "error"), [(redis_road, _Down("gone")), (root_road, SessionClosed("gone"))]
)


# The loops.


@ROADS
async def test_a_road_is_laid_anew_after_every_loss(make, error):
    failing, heard = Failing(error), []
    running = asyncio.get_running_loop().create_task(make(failing).run(heard.append))

    await until(lambda: failing.times > 5 or running.done())

    assert not running.done()
    assert heard[0] == Lost("gone" if make is redis_road else "it failed")
    assert await cancelled(running)


@ROADS
async def test_a_road_that_is_lost_at_the_moment_of_its_end_ends(make, error):
    failing = Failing(error)
    running = asyncio.get_running_loop().create_task(make(failing).run(lambda _event: None))
    await failing.ending.wait()

    assert await cancelled(running)


async def test_a_registry_that_cannot_take_leave_says_so_and_ends(caplog):
    caplog.set_level(logging.INFO)
    road = MemoryRoad(MemoryStore(clock=lambda: 1_790_000_000.0))
    settings = RegistrySettings(command_timeout=0.05)
    registry = Registry(road, node="https://a/", settings=settings)
    running = asyncio.get_running_loop().create_task(registry.run())
    await until(lambda: registry.status.isolated is None)

    async def never(*_arguments):
        await asyncio.Event().wait()

    road.call = never

    assert await cancelled(running)
    assert "not unregistered node=https://a/" in caplog.text


# What they stand on.


async def test_a_timeout_is_one_after_work_apart_that_failed():
    with pytest.raises(ExceptionGroup):
        await apart(Failing(ValueError())(), "work")

    assert asyncio.current_task().cancelling() == 0
    assert await run_out()


async def test_a_timeout_is_one_in_work_apart_of_a_task_that_is_being_cancelled():
    found = []

    async def tidy():
        try:
            await asyncio.Event().wait()
        finally:
            found.append(await apart(run_out(), "tidying"))

    task = asyncio.get_running_loop().create_task(tidy())
    await asyncio.sleep(0)

    assert await cancelled(task)
    assert found == [True]


async def test_work_apart_returns_what_it_has():
    async def work():
        return 7

    assert await apart(work(), "work") == 7


async def test_work_apart_that_is_cancelled_by_nobody_is_a_fault():
    async def work():
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="work was cancelled by nobody"):
        await apart(work(), "work")
