"""Names of nodes: one text for one node."""

import pytest

from moq_relay.cluster.address import HostPort, host_port, node_url


@pytest.mark.parametrize(
    ("written", "url", "reached"),
    [
        ("eu.example", "https://eu.example/", ("eu.example", 443)),
        ("EU.Example.:443", "https://eu.example/", ("eu.example", 443)),
        (" https://eu.example:4443 ", "https://eu.example:4443/", ("eu.example", 4443)),
        ("HTTPS://EU.example/", "https://eu.example/", ("eu.example", 443)),
        ("127.0.0.1:1", "https://127.0.0.1:1/", ("127.0.0.1", 1)),
        ("[::1]:4443", "https://[::1]:4443/", ("::1", 4443)),
        ("::1", "https://[::1]/", ("::1", 443)),
        ("[2001:DB8:0:0::1]", "https://[2001:db8::1]/", ("2001:db8::1", 443)),
        ("grün.example", "https://xn--grn-ioa.example/", ("xn--grn-ioa.example", 443)),
        ("pod_1.svc", "https://pod_1.svc/", ("pod_1.svc", 443)),
    ],
)
def test_a_node_has_one_name_however_it_is_written(written, url, reached):
    assert node_url(written) == url
    assert node_url(url) == url
    assert host_port(url) == HostPort(*reached)


@pytest.mark.parametrize(
    "written",
    [
        *("", "/", ":443", "http://a", "moqt://a", "a:x", "a:99999", "a/b", "a?b", "a#b", "u@a"),
        *("a b", "https://", "-a", "a\n.b", "https://a/?jwt=x", "[::1", "\x1b[31m", "<img>"),
    ],
)
def test_what_names_no_node_is_refused(written):
    with pytest.raises(ValueError, match=r"has |is not"):
        node_url(written)
