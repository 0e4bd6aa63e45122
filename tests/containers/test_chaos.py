"""A few of the scenarios with Redis in a container, where a Docker engine answers.

The engine stops and pauses other than a signal does, and its port is the engine's own: connections
to a dead server are refused by it, those to a paused one hang.
"""

import pytest

from tests.chaos.containers import container
from tests.chaos.run import SCENARIOS, run
from tests.chaos.test_scenarios import LEASE_SECONDS, SEED
from tests.support.redis_server import docker_problem

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]


@pytest.mark.parametrize("name", ["flushed", "redis-killed", "redis-frozen"])
async def test_every_node_agrees_with_every_publisher_when_redis_is_a_container(name):
    if (why := docker_problem()) is not None:
        pytest.skip(f"{why}; on Debian: apt install docker.io, and tools/with-docker")

    outcome = await run(SCENARIOS[name], seed=SEED, lease=LEASE_SECONDS, make_store=container)

    print(outcome.line())
    assert outcome.held, "\n".join([outcome.title, *outcome.problems])
