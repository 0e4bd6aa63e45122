"""Chains, and authorities, beyond what two ends of a handshake show in tests/contract."""

import pytest

from moq_relay.transports import authority
from moq_relay.transports.verification import Roots, Untrusted, roots_in
from tests.support.odd_certificates import CLIENT, INTERMEDIATE, OTHER_ROOT, ROOT, SERVER, made

NODE = "node.example"


def test_the_authority_of_the_command_issues_for_both_ends():
    ours = authority.found("a name", 30)
    issued = ours.issue([NODE, "127.0.0.1"], 30)
    roots = Roots([ours.certificate.leaf])

    assert roots.check_client(issued.leaf, issued.chain) == (NODE,)
    roots.check_server(issued.leaf, issued.chain, NODE)
    roots.check_server(issued.leaf, issued.chain, "127.0.0.1")


def test_authorities_that_everybody_believes_are_there_and_issued_nothing_of_ours():
    with pytest.raises(Untrusted, match="was not issued by an authority"):
        roots_in(None).check_server(made(NODE, by=ROOT).leaf, [], NODE)
    assert roots_in(None) is roots_in(None)


def test_one_of_several_authorities_is_enough():
    roots = roots_in(OTHER_ROOT.pem + b"\n" + ROOT.pem)

    for root in (ROOT, OTHER_ROOT):
        assert roots.check_client(made(NODE, by=root).leaf, []) == (NODE,)


def test_an_intermediate_is_an_authority_by_itself():
    """Whoever believes one of a large authority's, and not the whole of it."""
    leaf = made(NODE, by=INTERMEDIATE).leaf

    with pytest.raises(Untrusted):
        Roots([OTHER_ROOT.leaf]).check_client(leaf, [INTERMEDIATE.leaf])
    assert Roots([INTERMEDIATE.leaf]).check_client(leaf, []) == (NODE,)


def test_an_intermediate_that_is_for_another_usage_issues_nothing_for_this_one():
    roots = Roots([ROOT.leaf])
    servers, clients = (
        made("narrow", by=ROOT, authority=True, usage=[usage]) for usage in (SERVER, CLIENT)
    )

    assert roots.check_client(made(NODE, by=clients).leaf, [clients.leaf]) == (NODE,)
    with pytest.raises(Untrusted):
        roots.check_client(made(NODE, by=servers).leaf, [servers.leaf])
    roots.check_server(made(NODE, by=servers).leaf, [servers.leaf], NODE)
    with pytest.raises(Untrusted):
        roots.check_server(made(NODE, by=clients).leaf, [clients.leaf], NODE)


def test_what_an_attacker_adds_to_the_chain_is_no_authority():
    forged = made("root", authority=True, usage=())
    leaf = made(NODE, by=forged).leaf

    for chain in ([], [forged.leaf], [forged.leaf, ROOT.leaf], [ROOT.leaf, forged.leaf]):
        with pytest.raises(Untrusted):
            Roots([ROOT.leaf]).check_client(leaf, chain)


def test_a_host_that_cannot_be_in_a_certificate_is_refused_in_words():
    with pytest.raises(Untrusted, match="is refused: invalid domain name"):
        Roots([ROOT.leaf]).check_server(made(NODE, by=ROOT).leaf, [], "-a-.-b-")
