"""The command of docs/floods.md, for two seconds of one flood."""

import os

import pytest

from tests.floods import rounds
from tests.floods.judge import LEAST_SENT
from tests.floods.world import world

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


@pytest.mark.skipif(CORES < 2, reason="a flood needs a core beside that of the relay")
def test_a_viewer_misses_nothing_beside_a_flood_and_newcomers_take_their_share(
    tmp_path, monkeypatch
):
    for name in ("SETTLE_SECONDS", "TAIL_SECONDS", "REST_SECONDS"):
        monkeypatch.setattr(rounds, name, 0.3)
    with world(tmp_path, ["noise"]) as here:
        found = rounds.seen(here, "noise", 1, 2.0, lambda _: None)

    # A machine with other work says nothing of latency.
    assert found.missed == 0
    assert 0.01 < found.share <= 0.25
    assert found.seen_rate > 100
    assert all(one.sent > LEAST_SENT for one in (*found.flooded, *found.closed))
