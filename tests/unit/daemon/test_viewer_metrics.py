"""The metrics of viewers: what sessions measured is told, and every client is sampled."""

from types import SimpleNamespace

import pytest

from moq_relay.cluster.regions import OTHER
from moq_relay.daemon.clients import PERIOD, Clients, role
from moq_relay.relay.access import Access
from moq_relay.sessions.experience import Experience
from moq_relay.sessions.transport import TransportStats
from tests.unit.daemon.test_metrics import clustered, lines, told


class Session:
    """As much of one as a sample looks at."""

    def __init__(self, number=1, *, rtt=0.02, access=None, publishing=False, viewing=False, **more):
        self.number = number
        self.opening = SimpleNamespace(dialled=more.pop("dialled", False))
        self.publisher = SimpleNamespace(access=access or Access(), viewing=viewing)
        self.subscriber = SimpleNamespace(publishing=publishing)
        self.scheduler = range(more.pop("waiting", 0))
        self.transport = SimpleNamespace(
            binding=more.pop("binding", "quic"), stats=lambda: TransportStats(rtt, 0, 0, 0)
        )


def labels(**named):
    return tuple(sorted(named.items()))


def test_what_viewers_experience_is_told_by_its_labels():
    experience = Experience()
    experience.residence.observe(0.001)
    experience.delivery["eu"].observe(0.045)
    experience.delivery["eu"].observe(0.055)
    experience.first_object["remote", "eu"].observe(0.2)
    experience.age["webtransport"].observe(3.0)
    experience.client_rtt["quic", "viewer"].observe(0.1)
    experience.skipped["quic", "TooFarBehind"] = 3

    samples = told(experience=experience)

    name = "moq_relay_delivery_latency_seconds"
    assert samples[f"{name}_sum", labels(peer_region="eu")] == pytest.approx(0.1)
    assert samples[f"{name}_bucket", labels(peer_region="eu", le="0.05")] == 1
    assert samples["moq_relay_residence_seconds_bucket", labels(le="0.001")] == 1
    first = labels(path="remote", peer_region="eu")
    assert samples["moq_relay_first_object_seconds_sum", first] == 0.2
    aged = labels(transport="webtransport", le="2.5")
    assert samples["moq_relay_group_age_seconds_bucket", aged] == 0
    client = labels(transport="quic", role="viewer")
    assert samples["moq_relay_client_rtt_seconds_count", client] == 1
    skipped = labels(transport="quic", reason="too_far_behind")
    assert samples["moq_relay_groups_skipped_total", skipped] == 3


def test_what_can_be_known_beforehand_is_there_from_zero():
    samples = told()

    for transport in ("quic", "webtransport"):
        assert samples["moq_relay_backlog_groups", labels(transport=transport)] == 0
        assert samples["moq_relay_group_age_seconds_count", labels(transport=transport)] == 0
        for reason in ("evicted", "old", "partial", "too_far_behind"):
            skipped = labels(transport=transport, reason=reason)
            assert samples["moq_relay_groups_skipped_total", skipped] == 0
        for does in ("publisher", "viewer", "both"):
            client = labels(transport=transport, role=does)
            assert samples["moq_relay_client_rtt_seconds_count", client] == 0
    for path in ("local", "cached", "remote"):
        first = labels(path=path, peer_region="")
        assert samples["moq_relay_first_object_seconds_count", first] == 0
    delivered = "moq_relay_delivery_latency_seconds_count"
    assert samples[delivered, labels(peer_region="")] == 0
    assert samples["moq_relay_residence_seconds_count", ()] == 0


def test_the_backlog_is_what_waits_in_all_sessions_of_a_transport():
    sessions = [Session(waiting=2), Session(waiting=3), Session(waiting=4, binding="webtransport")]

    samples = told(sessions=lambda: sessions)

    assert samples["moq_relay_backlog_groups", labels(transport="quic")] == 5
    assert samples["moq_relay_backlog_groups", labels(transport="webtransport")] == 4


def test_every_region_is_there_from_zero_and_nothing_of_one_that_is_gone():
    here = clustered(3)
    here.experience.delivery["r1"].observe(0.1)
    here.experience.first_object["remote", "r1"].observe(0.1)
    here.experience.delivery["gone"].observe(0.1)
    here.experience.first_object["remote", "gone"].observe(0.1)

    here.experience.forget("gone")

    found = lines(here)
    latency, first = "moq_relay_delivery_latency_seconds", "moq_relay_first_object_seconds"
    for region, count in (("r0", 0.0), ("r1", 1.0), ("r2", 0.0)):
        by_region = f'peer_region="{region}",relay_region="r0"'
        assert f"{latency}_count{{{by_region}}} {count}" in found
        assert f'{first}_count{{path="remote",{by_region}}} {count}' in found
    assert f'{first}_count{{path="local",peer_region="r0",relay_region="r0"}} 0.0' in found
    assert not [line for line in found if "gone" in line]


def test_the_region_of_a_node_is_what_it_is_counted_as():
    cluster = clustered(3).cluster

    assert cluster.region_of("") == "r0"
    assert cluster.region_of("https://n2/") == "r2"
    assert cluster.region_of("https://nobody/") == OTHER


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        (Session(publishing=True), "publisher"),
        (Session(viewing=True), "viewer"),
        (Session(publishing=True, viewing=True), "both"),
        (Session(), "both"),
        (Session(access=Access(publish=())), "viewer"),
        (Session(access=Access(subscribe=())), "publisher"),
        (Session(access=Access(publish=()), viewing=True), "viewer"),
        (Session(dialled=True), None),
        (Session(access=Access(local_only=True), viewing=True), None),
        (Session(access=Access(register="https://a/")), None),
        (Session(access=Access(challenge="abc")), None),
    ],
)
def test_a_role_is_what_a_client_does_or_else_what_it_may_do(session, expected):
    assert role(session) == expected


def test_each_client_is_sampled_once_in_ten_turns_and_no_more_than_a_tenth_at_once():
    experience = Experience()
    sessions = [Session(number, viewing=True, rtt=0.04) for number in range(1, 101)]
    sessions += [Session(200, rtt=None), Session(201, dialled=True)]
    clients = Clients(lambda: sessions, experience)
    after = []

    for _ in range(2 * PERIOD):
        clients.turn()
        after.append(experience.client_rtt["quic", "viewer"].count)

    assert after == [10 * turn for turn in range(1, 2 * PERIOD + 1)]
    assert list(experience.client_rtt) == [("quic", "viewer")]
    assert experience.client_rtt["quic", "viewer"].total == pytest.approx(200 * 0.04)
