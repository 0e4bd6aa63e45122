"""What the registry refuses at the start, and what it does not let pass in silence."""

import asyncio

import pytest

from moq_relay.cluster.endless import endless
from moq_relay.cluster.status import RegistrySettings
from moq_relay.errors import ConfigError


def test_a_lease_that_one_slow_renewal_could_lose_is_refused():
    with pytest.raises(ConfigError, match="lease"):
        RegistrySettings(renew=2.0, command_timeout=2.0, lease=5.9)

    RegistrySettings(renew=2.0, command_timeout=2.0, lease=6.0)


@pytest.mark.parametrize(("lease", "seconds"), [(6.0, 0.5), (8.0, 0.5), (60.0, 0.5)])
def test_the_dead_are_looked_for_often_enough_to_go_within_a_second(lease, seconds):
    assert RegistrySettings(lease=lease).sweep == seconds


async def test_a_loop_that_ends_by_itself_is_an_error():
    async def short() -> None:
        return

    with pytest.raises(RuntimeError, match="ended"):
        await endless(short())


async def test_a_stray_cancellation_is_not_taken_for_the_end():
    async def struck() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    with pytest.raises(RuntimeError, match="ended"):
        await endless(struck())


async def test_a_cancelled_loop_ends_as_asked():
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(endless(asyncio.Event().wait()))
        await asyncio.sleep(0)
        task.cancel()

    assert task.cancelled()
