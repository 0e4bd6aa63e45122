"""Every token at some paths, by a version with a path in its URL and one with a path in its SETUP.

``python -m tests.rights`` does it for all paths, transports and versions, and the real client.
"""

from moq_relay.wire.lite.versions import LITE_04, LITE_06
from tests.rights.matrix import Result, Way, everything, place

WAYS = (Way("webtransport", LITE_04), Way("quic", LITE_06), Way("http"))
SOME = {"room/alice", "ro"}


async def test_every_bearer_may_what_the_oracle_says_and_nothing_else(tmp_path):
    result = Result()
    async with place(tmp_path) as there:
        for way, bearer, path in everything(WAYS):
            if path in SOME:
                await there.judge(way, bearer, path, result)

    assert result.wrong == []
    assert result.cases > 600
