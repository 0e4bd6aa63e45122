"""What the scripts call, where, and what a Redis user needs for it."""

import re

import pytest

from moq_relay.cluster.acl import CLIENT_COMMANDS, acl_rules
from moq_relay.cluster.keys import Keys, shard_of
from moq_relay.cluster.scripts import CHANGES, SCRIPTS

REDIS_7_0 = {
    *("del", "hdel", "hget", "hgetall", "hincrby", "hkeys", "hmget", "hset"),
    *("publish", "time", "xadd", "xrange"),
    *("zadd", "zrange", "zrangebyscore", "zrem", "zscore"),
}
"""The commands of Redis 7.0 that the scripts may call; all of them older than that."""


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=lambda script: script.name)
def test_a_script_calls_only_what_redis_7_has(script):
    assert script.commands() <= REDIS_7_0


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=lambda script: script.name)
def test_a_script_names_no_key_of_its_own(script):
    called = re.findall(r"redis\.p?call\('\w+', ([^,)]+)", script.text)

    assert all(key.startswith(("KEYS[", "ARGV[1]")) for key in called), called


def test_only_what_changes_something_can_emit():
    assert {name for name, s in SCRIPTS.items() if "publish" in s.commands()} == set(CHANGES)


@pytest.mark.parametrize("shard", [None, 0, 15])
def test_all_keys_of_a_call_and_its_channel_share_one_hash_tag(shard):
    keys = Keys("my{cluster")

    names = [*keys.of(shard, "https://{node}"), keys.channel(shard)]

    assert len({re.sub(r".*?:(\{\w+\}).*", r"\1", name) for name in names}) == 1


def test_a_path_is_in_the_same_shard_in_every_version():
    assert [shard_of(path, 16) for path in ("", "room/alice", "room/bob", "ü")] == [4, 10, 8, 7]


def test_the_access_list_holds_exactly_what_is_called():
    rules = acl_rules("moq")

    allowed = {rule[1:] for rule in rules if rule.startswith("+")}
    called = set().union(*(script.commands() for script in SCRIPTS.values()))
    assert allowed == called | {name.lower().replace(" ", "|") for name in CLIENT_COMMANDS}
    assert "-@all" in rules
    assert not allowed & {"eval", "keys", "flushall", "config", "script|flush"}


def test_a_prefix_cannot_widen_the_access_list():
    assert "~a\\*b\\?\\[:*" in acl_rules("a*b?[")
