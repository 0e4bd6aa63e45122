"""What the sessions of one tenant may use together."""

from types import SimpleNamespace

import pytest

from moq_relay.errors import LimitReached
from moq_relay.relay.access import Access, Holder
from moq_relay.sessions.tally import Tally
from moq_relay.sessions.tenants import WINDOW, TenantLimits, Tenants

NODES = (
    Access(cluster=True, holder=Holder("acme")),
    Access(local_only=True, holder=Holder("acme")),
    Access(register="https://two.example/", holder=Holder("acme")),
)


def of(tenant):
    return Access(holder=Holder(tenant))


def session(number):
    return SimpleNamespace(number=number, tally=Tally())


def test_a_tenant_has_so_many_sessions_and_another_has_its_own():
    tenants = Tenants(TenantLimits(sessions=2))
    tenants.enter(1, of("acme"))
    tenants.enter(2, of("acme"))

    with pytest.raises(LimitReached) as refusal:
        tenants.enter(3, of("acme"))
    assert refusal.value.reason == "tenant"
    tenants.enter(3, of("other"))

    tenants.left(1)
    tenants.left(1)
    tenants.enter(4, of("acme"))
    with pytest.raises(LimitReached):
        tenants.enter(5, of("acme"))


@pytest.mark.parametrize("node", NODES)
def test_a_node_is_nobodys_and_is_never_refused(node):
    tenants = Tenants(TenantLimits(sessions=1, announces=1, egress=1))
    tenants.enter(1, of("acme"))
    tenants.announced(of("acme"))

    tenants.enter(2, node)
    assert tenants.may_announce(node)
    tenants.announced(node)
    tenants.withdrawn(node)
    assert not tenants.may_announce(of("acme"))


def test_a_tenant_announces_so_much_at_a_time():
    tenants = Tenants(TenantLimits(announces=3))
    for _ in range(3):
        assert tenants.may_announce(of("acme"))
        tenants.announced(of("acme"))

    assert not tenants.may_announce(of("acme"))
    assert tenants.may_announce(of("other"))
    tenants.withdrawn(of("acme"), 2)
    assert tenants.may_announce(of("acme"))


def test_what_a_session_sent_before_it_left_is_its_tenant_s():
    tenants = Tenants(TenantLimits(egress=100))
    tenants.turn([], now=0.0)
    one = session(1)
    tenants.enter(1, of("acme"))
    one.tally.bytes_out = 60
    tenants.turn([one], now=0.5)
    assert tenants.overdrawn(of("acme"))
    for _ in range(4):
        tenants.turn([one], now=tenants._read_at + 1.0)
    assert not tenants.overdrawn(of("acme"))

    # One that is there at no turn, and one that leaves between two.
    tenants.enter(2, of("acme"))
    tenants.left(2, 500)
    tenants.left(1, 90)
    tenants.left(1, 90)
    tenants.turn([], now=tenants._read_at + 1.0)

    assert tenants._turns[-1][1] == {"acme": 530}
    assert tenants.overdrawn(of("acme"))


def test_a_tenant_is_overdrawn_while_it_is_sent_more_than_it_may_over_some_seconds():
    tenants = Tenants(TenantLimits(egress=100))
    one, two, other = sessions = [session(number) for number in (1, 2, 3)]
    for each, tenant in zip(sessions, ("acme", "acme", "other"), strict=True):
        tenants.enter(each.number, of(tenant))
    tenants.turn(sessions, now=0.0)

    one.tally.bytes_out, two.tally.bytes_out, other.tally.bytes_out = 60, 60, 90
    tenants.turn(sessions, now=1.0)
    assert tenants.overdrawn(of("acme"))
    assert not tenants.overdrawn(of("other"))
    assert not any(map(tenants.overdrawn, NODES))

    tenants.turn(sessions, now=2.0)
    assert not tenants.overdrawn(of("acme"))


def test_a_burst_within_the_rate_of_some_seconds_is_no_overdraft():
    tenants = Tenants(TenantLimits(egress=100))
    one = session(1)
    tenants.enter(1, of("acme"))
    for second in range(WINDOW):
        tenants.turn([one], now=second)

    one.tally.bytes_out = 100 * (WINDOW - 1)
    tenants.turn([one], now=WINDOW)
    assert not tenants.overdrawn(of("acme"))

    one.tally.bytes_out += 200
    tenants.turn([one], now=WINDOW + 1)
    assert tenants.overdrawn(of("acme"))


def test_what_no_session_sent_counts_for_its_tenant_and_for_no_node():
    tenants = Tenants(TenantLimits(egress=100))
    tenants.turn((), now=0.0)
    tenants.sent(of("acme"), 60)
    tenants.sent(of("acme"), 60)
    for node in NODES:
        tenants.sent(node, 1000)
    tenants.sent(of("other"), 90)
    tenants.turn((), now=1.0)

    assert tenants.overdrawn(of("acme"))
    assert not tenants.overdrawn(of("other"))
    tenants.turn((), now=2.0)
    assert not tenants.overdrawn(of("acme"))


def test_without_limits_nothing_is_refused():
    tenants = Tenants()
    one = session(1)

    for number in range(1000):
        tenants.enter(number, of("acme"))
        tenants.announced(of("acme"))
    one.tally.bytes_out = 1 << 60
    tenants.turn([one], now=0.0)
    tenants.turn([one], now=1.0)

    assert tenants.may_announce(of("acme"))
    assert not tenants.overdrawn(of("acme"))


@pytest.mark.parametrize(
    ("path", "tenant"),
    [
        ("acme/room/alice", "acme/room"),
        ("acme/rooms/alice", "acme"),
        ("acme", "acme"),
        ("other/alice", "other"),
        ("elsewhere/alice", "elsewhere"),
    ],
)
def test_a_path_belongs_to_who_is_here_with_its_root_else_to_its_first_segment(path, tenant):
    tenants = Tenants()
    for number, name in enumerate(("", "acme", "acme/room", "other")):
        tenants.enter(number, of(name))

    assert tenants.of_path(path) == tenant
