"""``/revoke`` and ``/revocations``: who takes which tokens back, and what they are told."""

import json
import logging

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from moq_relay.cluster import revocations as module
from moq_relay.cluster.revocations import Revocations
from moq_relay.daemon.drain import Drain
from moq_relay.daemon.tokens.claims import digest
from moq_relay.daemon.web.changes import Changes
from moq_relay.daemon.web.revocation_http import NAMES_AT_ONCE, RevocationHttp
from tests.unit.daemon.test_changes import GOOD, TOKEN, Crowd

NOW = 1_000.5
ALONE = {"pending": 0, "shared": False, "known": True, "isolated": None}


@pytest.fixture
def revocations():
    return Revocations(lambda: NOW)


@pytest.fixture
async def client(revocations, caplog):
    caplog.set_level(logging.INFO)
    drain = Drain(Crowd(), clock=lambda: 0.0, settle=0.0, say=lambda _: None, leave=lambda: None)
    app = web.Application()
    RevocationHttp(revocations, None, lambda: NOW).add_to(app, Changes(TOKEN, drain, 20.0))
    async with TestClient(TestServer(app)) as client:
        yield client


async def post(client, body, headers=GOOD):
    answer = await client.post("/revoke", data=json.dumps(body), headers=headers)
    return answer.status, await answer.text()


async def test_tokens_are_taken_back_by_name_and_by_subject(client, revocations, caplog):
    status, said = await post(client, {"jti": ["a", "b"], "expires": 2000.2})
    assert (status, json.loads(said)) == (200, {"revocations": 2} | ALONE)
    status, said = await post(client, {"sub": "bob"})
    assert (status, json.loads(said)) == (200, {"revocations": 3} | ALONE)
    await post(client, {"sub": "eve", "issued_until": 500})

    assert revocations.covers(digest("a"), None, 999_999)
    assert revocations.covers(None, digest("bob"), 1000)
    assert not revocations.covers(None, digest("bob"), 1001)
    assert not revocations.covers(None, digest("eve"), 501)
    assert revocations._entries[f"jti:{digest('a')}"].until == 2001
    assert revocations._entries[f"sub:{digest('bob')}"].until == module.FOREVER
    lines = [record.getMessage() for record in caplog.records if "what=" in record.getMessage()]
    assert lines[1] == f"changed what=revoke by=127.0.0.1 sub={digest('bob')} issued_until=1000"
    assert "bob" not in caplog.text
    looked = await client.get("/revocations")
    assert (await looked.json())["revocations"] == 4


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "jti or sub says which"),
        ({"jti": []}, "jti or sub says which"),
        ({"jti": ""}, "jti is the text of that claim"),
        ({"jti": 5}, "jti is the text of that claim"),
        ({"sub": ["a", None]}, "sub is the text of that claim"),
        ({"sub": "x" * 1025}, "sub is the text of that claim"),
        ({"sub": ["x"] * (NAMES_AT_ONCE + 1)}, "sub has more than 1000 names"),
        ({"jti": "a", "issued_until": 5}, "issued_until goes with sub alone"),
        ({"sub": "a", "issued_until": "now"}, "issued_until is a time"),
        ({"sub": "a", "issued_until": -1}, "issued_until is a time"),
        ({"sub": "a", "issued_until": True}, "issued_until is a time"),
        ({"jti": "a", "expires": 1e300}, "expires is a time"),
        ({"jti": "a", "expires": float("nan")}, "expires is a time"),
        ({"jti": "a", "expires": 1000}, "expires is over"),
        ({"jti": "a", "token": "x"}, "'token' is not known here|token is not known here"),
        (["a"], "not an object"),
    ],
)
async def test_nonsense_takes_nothing_back_and_costs_a_line(client, revocations, body, words):
    status, said = await post(client, body)

    assert status == 400
    assert any(part in said for part in words.split("|"))
    assert len(revocations) == 0


async def test_who_may_not_change_the_relay_takes_nothing_back(client, revocations):
    status, _ = await post(client, {"jti": "a"}, GOOD | {"Authorization": "Bearer other"})

    assert (status, len(revocations)) == (401, 0)


async def test_when_no_more_are_kept_that_is_said(client, monkeypatch):
    monkeypatch.setattr(module, "MOST", 1)

    status, said = await post(client, {"jti": ["a", "b"]})

    assert status == 507
    assert "1 revocations are kept, and no more" in said
