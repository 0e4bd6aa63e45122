"""Which nodes may be dialled: by pattern, and never this machine unless somebody means it."""

import pytest

from moq_relay.cluster.address import node_url
from moq_relay.cluster.destinations import Destinations, host_pattern

NEAR = "is this machine or its link; only cluster.allow can say otherwise"
FAR, HERE, LINK = "192.0.2.1", "127.0.0.1", "169.254.169.254"


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("*", "*"),
        ("Relay.Example.", "relay.example"),
        ("*.example", "*.example"),
        ("under_score", "under_score"),
        ("10.0.0.1", "10.0.0.1/32"),
        ("10.0.0.9/8", "10.0.0.0/8"),
        ("[2001:db8::1]", "2001:db8::1/128"),
        ("2001:DB8::/32", "2001:db8::/32"),
    ],
)
def test_a_pattern_has_one_form(text, pattern):
    assert host_pattern(text) == pattern
    assert host_pattern(pattern) == pattern


@pytest.mark.parametrize(
    "text", ["", "https://a.example", "a.example:443", "a*.example", "*.*.example", "**", "a b"]
)
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(ValueError, match="which is no host"):
        host_pattern(text)


@pytest.mark.parametrize(
    ("allow", "host", "refused"),
    [
        ([], "any.example", None),
        (["*"], "any.example", None),
        (["a.example"], "a.example", None),
        (["a.example"], "b.a.example", "b.a.example is not in cluster.allow"),
        (["a.example"], "xa.example", "xa.example is not in cluster.allow"),
        (["*.example"], "a.b.example", None),
        (["*.example"], "example", "example is not in cluster.allow"),
        (["*.example"], "bad-example", "bad-example is not in cluster.allow"),
        (["10.0.0.0/8"], "10.1.2.3", None),
        (["10.0.0.0/8"], "11.1.2.3", "11.1.2.3 is not in cluster.allow"),
        (["10.0.0.0/8"], "a.example", "a.example is not in cluster.allow"),
        (["2001:db8::/32"], "[2001:db8::5]", None),
        (["a.example"], "self.example", None),
        (["a.example"], "root.example", None),
        ([], HERE, f"{HERE} {NEAR}"),
        (["*"], LINK, f"{LINK} {NEAR}"),
        ([], "localhost", f"localhost {NEAR}"),
        ([HERE], HERE, None),
        (["127.0.0.0/8"], "127.0.0.2", None),
        (["localhost"], "localhost", None),
    ],
)  # fmt: skip
def test_a_host_may_be_dialled_by_pattern(allow, host, refused):
    destinations = Destinations(
        map(host_pattern, allow), node="https://self.example/", roots=["https://root.example/"]
    )

    assert destinations.refusal(f"https://{host}/") == refused
    assert destinations.admits(f"https://{host}/") == (refused is None)


def test_an_address_in_the_other_family_is_the_same_machine():
    node = node_url("[::ffff:127.0.0.1]")

    assert Destinations().refusal(node).endswith(NEAR)
    assert Destinations([host_pattern(HERE)]).refusal(node) is None


@pytest.mark.parametrize(
    "node",
    [
        "http://a.example/",
        "https://a.example",
        "https://A.example/",
        "https://a.example:443/",
        "https://a.example/path",
        "https://user@a.example/",
        "https://a.example/?jwt=x",
        "a.example",
        "",
        "https://a.example/\nM https://b.example/",
    ],
)
def test_what_is_not_the_url_of_a_node_is_none(node):
    assert Destinations().refusal(node) is not None


@pytest.mark.parametrize("own", ["127.0.0.1:4443", "localhost:4443", "[::1]:4443"])
def test_nodes_of_one_machine_may_dial_each_other(own):
    destinations = Destinations(node=f"https://{own}/")

    for other in ("127.0.0.1:1", "localhost:2", "[::1]:3"):
        assert destinations.admits(f"https://{other}/")


@pytest.mark.parametrize(
    ("allow", "own", "host", "address", "may"),
    [
        ([], FAR, "a.example", FAR, True),
        ([], FAR, "a.example", HERE, False),
        ([], FAR, "a.example", LINK, False),
        ([], FAR, "a.example", "fe80::1%eth0", False),
        ([], FAR, "a.example", "::ffff:127.0.0.1", False),
        ([], FAR, "a.example", "0.0.0.0", False),
        ([], HERE, "a.example", "0.0.0.0", False),
        ([], FAR, "a.example", "224.0.0.1", False),
        ([], HERE, "a.example", HERE, True),
        ([], LINK, "a.example", LINK, True),
        ([], FAR, "self.example", HERE, True),
        (["*.example"], FAR, "a.example", HERE, False),
        (["a.example"], FAR, "a.example", HERE, True),
        (["127.0.0.0/8"], FAR, "a.example", HERE, True),
        ([], None, "a.example", HERE, False),
    ],
)
async def test_what_a_name_leads_to_is_looked_at_too(allow, own, host, address, may):
    async def resolve(_place):
        if own is None:
            raise OSError("no such host")
        return [own]

    destinations = Destinations(
        map(host_pattern, allow), node="https://self.example/", resolve=resolve
    )

    assert await destinations.permits(host, address) == may


def test_a_refused_node_is_told_once_and_cannot_write_lines_into_the_log(caplog):
    destinations = Destinations(["a.example"])

    for _ in range(3):
        destinations.admits("https://evil.example/")
        destinations.admits("https://a.example/\nERROR all is lost")

    assert [record.getMessage() for record in caplog.records] == [
        "node refused node=https://evil.example/ reason=evil.example is not in cluster.allow",
        "node refused node=unprintable reason=its URL is not a host, host:port or URL",
    ]
