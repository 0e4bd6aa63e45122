"""How near a relay is to its limits: shares of what is limited, and 0 of what is not."""

import errno

import pytest

from moq_relay.daemon import saturation
from moq_relay.daemon.config.limit_settings import LimitsSection
from moq_relay.daemon.config.settings import Settings
from moq_relay.daemon.saturation import RESOURCES, Saturation, memory_limit
from moq_relay.relay.counters import Counters


class Hands:
    """Clocks that are turned by hand."""

    def __init__(self, monkeypatch):
        self.now = self.cpu = 100.0
        monkeypatch.setattr(saturation.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(saturation.time, "thread_time", lambda: self.cpu)

    def second(self, cpu):
        self.now += 1.0
        self.cpu += cpu


@pytest.fixture
def hands(monkeypatch):
    return Hands(monkeypatch)


def made(*, sessions=0, sent=lambda: 0, egress=None):
    return Saturation(sessions=lambda: sessions, sessions_limit=200, sent=sent, egress_limit=egress)


def test_each_resource_is_there_before_anything_happened(hands):
    ratios = made().ratios()

    assert tuple(ratios) == RESOURCES
    assert (ratios["loop"], ratios["sessions"], ratios["egress"]) == (0, 0, 0)


def test_what_was_fetched_by_http_is_egress_too(hands):
    counters = Counters()
    found = Saturation.of(Settings(limits=LimitsSection(egress=100)), (), counters)

    counters.bytes_out, counters.fetch_bytes = 20, 50
    hands.second(0)
    found.turn()

    assert found.ratios()["egress"] == pytest.approx(0.7)


def test_when_there_is_none_left_to_count_them_with_all_descriptors_are_in_use(hands, monkeypatch):
    class Full:
        def iterdir(self):
            raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(saturation, "DESCRIPTORS", Full())

    assert made().ratios()["fds"] == 1


def test_what_is_used_up_is_named_but_sessions_have_a_limit_of_their_own(hands, monkeypatch):
    monkeypatch.setattr(saturation, "resident", lambda: 0)
    monkeypatch.setattr(saturation, "_descriptors", lambda: 0.5)
    found = made(sessions=200)
    assert found.shortest(0.9) is None

    for _ in range(10):
        hands.second(0.95)
        found.turn()

    assert found.shortest(0.9) == "loop"
    assert found.shortest(0.96) is None
    assert found.shortest(0.1) == "loop"


def test_the_loop_is_as_busy_as_its_thread_was_in_the_last_seconds(hands):
    found = made()
    for _ in range(10):
        hands.second(0.9)
        found.turn()
    assert found.ratios()["loop"] == pytest.approx(0.9)

    for cpu in (0.0, 0.0, 0.0, 0.0, 0.5):
        hands.second(cpu)
        found.turn()

    assert found.ratios()["loop"] == pytest.approx(0.1)


def test_egress_is_a_share_of_what_the_relay_can_send_if_somebody_said_that(hands):
    sent = [0]
    limited, free = made(sent=lambda: sent[0], egress=1000), made(sent=lambda: sent[0])
    for _ in range(3):
        sent[0] += 250
        hands.second(0)
        limited.turn()
        free.turn()

    assert limited.ratios()["egress"] == pytest.approx(0.25)
    assert free.ratios()["egress"] == 0


def test_sessions_are_a_share_of_their_limit_and_never_more_than_all():
    assert made(sessions=50).ratios()["sessions"] == 0.25
    assert made(sessions=300).ratios()["sessions"] == 1.0


def test_memory_and_files_of_this_process_are_shares_above_nothing():
    ratios = made().ratios()

    assert 0 < ratios["memory"] < 1
    assert 0 < ratios["fds"] < 1


@pytest.mark.parametrize(
    ("membership", "files", "limit"),
    [
        ("0::/a/b\n", {"a/memory.max": "5000000\n", "a/b/memory.max": "max\n"}, 5_000_000),
        ("0::/\n", {"memory.max": "7000000\n"}, 7_000_000),
        ("0::/not/here\n", {"memory.max": "7000000\n"}, 7_000_000),
        ("4:cpu,memory:/x\n", {"memory/x/memory.limit_in_bytes": "9000000\n"}, 9_000_000),
        ("4:memory:/x\n", {"memory/x/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("0::/a\n", {"a/memory.max": "max\n"}, None),
        ("", {}, None),
    ],
)
def test_memory_is_limited_by_the_least_of_the_cgroups_and_the_machine(
    tmp_path, membership, files, limit
):
    (tmp_path / "cgroup").write_text(membership)
    for name, text in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    machine = memory_limit(tmp_path / "nowhere", tmp_path / "none")

    found = memory_limit(tmp_path / "fs", tmp_path / "cgroup")

    assert found == (limit or machine)
    assert machine > 64 << 20
