"""What every change has to survive: faults of a whole cluster at a lease of two seconds.

All of them, at the default lease, and a long random schedule: ``make chaos``.
"""

import os

import pytest

from tests.chaos.run import SCENARIOS, run
from tests.support.redis_server import redis_binary

LEASE_SECONDS = 2.0
SEED = int(os.environ.get("MOQ_TEST_SEED", "1"))

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]


@pytest.mark.parametrize("name", [one.name for one in SCENARIOS.values() if one.ci])
async def test_every_node_that_is_left_agrees_with_every_publisher_that_is_left(name):
    redis_binary()

    outcome = await run(SCENARIOS[name], seed=SEED, lease=LEASE_SECONDS)

    print(outcome.line())
    assert outcome.problems == [], "\n".join([outcome.title, *outcome.problems])
