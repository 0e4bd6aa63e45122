"""Keys that cannot be read anew: how long that lasts, and what came of each time, as it is told."""

import json

import pytest

from moq_relay.daemon.config.sources import Layer, load
from moq_relay.daemon.tokens.keyfiles import Document, key_set
from moq_relay.daemon.tokens.keyring import keyring
from moq_relay.daemon.tokens.keys import Pack
from moq_relay.daemon.tokens.places import FILE_SECONDS, Gone, Unread
from moq_relay.errors import Unauthorized
from tests.support.node import Clock
from tests.unit.daemon.test_keys import FRESH, Shelf, named, text_of
from tests.unit.daemon.test_metrics import told

AWAY = Unread("set: answers 500")


class Served:
    """A set that somebody has, by a clock that the test turns."""

    def __init__(self):
        self.shelf, self.clock = Shelf(), Clock()
        document = Document(self.shelf.place("set"), key_set, clock=self.clock)
        self.ring = Pack(document, named=True, clock=self.clock)
        self.has(text_of(named("a")))

    def has(self, held):
        self.shelf.held["set"] = held

    async def turn(self, seconds):
        self.clock.now += seconds
        await self.ring.turn()
        return self.ring.stale()


@pytest.fixture
def served():
    return Served()


async def test_keys_are_stale_from_the_time_at_which_they_had_to_be_read_anew(served):
    assert [await served.turn(one) for one in (0, FRESH - 1)] == [0, 0]

    served.has(AWAY)
    assert await served.turn(2) == 1
    assert await served.turn(500) == 501

    served.has(text_of(named("a")))
    assert await served.turn(60) == 0
    assert await served.turn(FRESH + 60) == 0


@pytest.mark.parametrize("held", [AWAY, Gone("set: answers 404"), "junk", text_of()])
async def test_keys_are_stale_whatever_it_is_that_they_cannot_be_read_for(served, held):
    await served.turn(0)
    served.has(held)

    assert await served.turn(FRESH + 7) == 7


async def test_keys_that_were_never_read_are_stale_from_the_start(served):
    served.has(AWAY)

    assert await served.turn(0) == 0
    assert await served.turn(30) == 30


async def test_a_stranger_cannot_make_keys_stale_before_their_time(served):
    await served.turn(0)
    served.has(AWAY)

    assert await served.ring.look_up("x") == []

    assert served.ring.stale() == 0


# --- where they are kept, and as metrics ----------------------------------------------------------


def ring_of(**auth):
    settings = {"server": {"tls": {"generate": "localhost"}}, "auth": auth}
    return keyring(load([Layer("relay.toml", settings)]))


def shown(ring):
    """The metrics of a relay with that ring."""
    samples = told(keys=ring)
    reads = {
        labels[0][1]: value
        for (name, labels), value in samples.items()
        if name == "moq_relay_key_reads_total" and value
    }
    return reads, samples["moq_relay_keys_stale_seconds", ()]


async def due(ring, document):
    """Let its time pass."""
    document.due -= FILE_SECONDS
    document._good_until -= FILE_SECONDS
    await ring.turn()


@pytest.mark.parametrize("setting", ["key", "jwks"])
async def test_a_file_that_holds_no_key_any_more_is_told(setting, tmp_path):
    path = tmp_path / "keys"
    path.write_text(json.dumps(named("a")) if setting == "key" else text_of(named("a")))
    more = {"audience": "here"} if setting == "jwks" else {}
    ring = ring_of(**{setting: str(path)}, **more)
    assert shown(ring) == ({"read": 1}, 0)

    await due(ring, ring._document)
    assert shown(ring) == ({"read": 1, "unchanged": 1}, 0)

    path.write_text("junk")
    await due(ring, ring._document)
    reads, stale = shown(ring)
    assert reads == {"read": 1, "unchanged": 1, "failed": 1}
    assert 0 < stale < FILE_SECONDS

    path.unlink()
    await due(ring, ring._document)
    assert shown(ring)[0]["missing"] == 1


async def test_of_a_directory_the_stalest_key_is_told_and_one_that_is_gone_is_not(tmp_path):
    for kid in ("a", "b", "c"):
        (tmp_path / f"{kid}.jwk").write_text(json.dumps(named(kid)))
    ring = ring_of(key_dir=str(tmp_path))
    await ring.turn()
    assert shown(ring) == ({"read": 3}, 0)

    (tmp_path / "a.jwk").write_text("junk")
    (tmp_path / "b.jwk").unlink()
    for document in tuple(ring._documents.values()):
        await due(ring, document)
    reads, stale = shown(ring)
    assert reads == {"read": 3, "unchanged": 1, "failed": 1, "missing": 1}
    assert 0 < stale < FILE_SECONDS

    (tmp_path / "a.jwk").unlink()
    await due(ring, ring._documents["a"])
    assert shown(ring)[1] == 0


async def test_of_a_directory_a_key_that_never_could_be_used_is_told(tmp_path):
    ring = ring_of(key_dir=str(tmp_path))
    (tmp_path / "a.jwk").write_text("junk")
    await ring.turn()
    await due(ring, ring._listed["a"])

    assert shown(ring)[1] > 0


async def test_names_that_strangers_invent_are_missing_and_make_nothing_stale(tmp_path):
    ring = ring_of(key_dir=str(tmp_path))
    for kid in ("x", "y"):
        assert await ring.look_up(kid) == ()

    assert shown(ring) == ({"missing": 2}, 0)


async def test_without_keys_nothing_is_read_and_nothing_is_stale():
    assert ring_of() is None
    assert shown(None) == ({}, 0)


async def test_a_server_of_one_key_that_was_never_there_is_told():
    ring = ring_of(key="http://127.0.0.1:1/key.jwk")
    with pytest.raises(Unauthorized):
        await ring.look_up("a")
    await due(ring, ring._document)

    reads, stale = shown(ring)
    assert set(reads) == {"failed"}
    assert stale > 0
