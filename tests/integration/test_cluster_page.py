"""The page of the demo at a relay that has the broadcast from another one."""

import pytest

from tests.integration.test_daemon_page import drawn, figure, more_groups, shown, state
from tests.support.cluster_process import ClusterProcess


@pytest.mark.timeout(120)
async def test_the_page_shows_the_picture_of_another_relay(chromium, tmp_path):
    cluster = ClusterProcess(tmp_path, ["root", "east"])
    cluster.add("root", rest="[redis]\ntimeout = 0.5\n[demo]\npage = true")
    cluster.add_through("east", "root").toml += "[demo]\nenabled = true\n"
    try:
        await cluster.start()
        address = f"http://127.0.0.1:{cluster['root'].web_port}/demo"
        async with shown(chromium, address) as (page, faults):
            await state(page, "live")
            await more_groups(page, 3)

            assert await drawn(page) > 1000
            assert await figure(page, "rate") > 20
            assert faults == []
        cluster.stop()
    finally:
        cluster.kill()
