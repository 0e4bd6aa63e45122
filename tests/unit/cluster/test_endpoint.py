"""``redis.url`` in its four forms, and what a server's own words are worth a warning."""

import pytest

from moq_relay.cluster.endpoint import Endpoint, parse_endpoint, parse_info, server_facts
from moq_relay.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("redis://db", Endpoint(addresses=(("db", 6379),))),
        ("redis://db:7000/3", Endpoint(addresses=(("db", 7000),), database=3)),
        ("redis://[::1]:7000", Endpoint(addresses=(("::1", 7000),))),
        ("rediss://db:1", Endpoint(addresses=(("db", 1),), tls=True)),
        ("unix:///run/a%20b.sock?db=2", Endpoint(path="/run/a b.sock", database=2)),
        (
            "redis://me:p%40ss@db",
            Endpoint(addresses=(("db", 6379),), username="me", password="p@ss"),
        ),
        (
            "redis+sentinel://s1,s2:5/live/4",
            Endpoint(addresses=(("s1", 26379), ("s2", 5)), service="live", database=4),
        ),
    ],
)
def test_a_url_is_read(url, wanted):
    assert parse_endpoint(url) == wanted


@pytest.mark.parametrize(
    "url",
    [
        "",
        "db",
        "http://db",
        "redis://",
        "unix://",
        "redis+sentinel://s1",
        "redis://db:x",
        "redis://d/x",
    ],
)
def test_what_is_no_such_url_is_refused(url):
    with pytest.raises(ConfigError, match=r"redis\.url"):
        parse_endpoint(url)


def test_what_is_given_beside_the_url_outranks_it():
    endpoint = parse_endpoint("redis://a:b@db", username="c", password="d", ca_file="/ca.pem")

    assert (endpoint.username, endpoint.password, endpoint.ca_file) == ("c", "d", "/ca.pem")


def test_no_text_holds_the_password():
    endpoint = parse_endpoint("redis://me:secret@db/1")

    assert "secret" not in repr(endpoint)
    with pytest.raises(ConfigError) as refused:
        parse_endpoint("http://me:secret@db")
    assert "secret" not in str(refused.value)


GOOD = {"redis_version": "7.0.15", "maxmemory_policy": "noeviction", "aof_enabled": "1"}


def test_a_server_that_is_set_up_well_is_worth_no_warning():
    assert server_facts(GOOD).warnings == ()


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("redis_version", "6.2.14", "older than 7.0"),
        ("maxmemory_policy", "allkeys-lru", "allkeys-lru"),
        ("aof_enabled", "0", "append-only"),
    ],
)
def test_each_thing_that_puts_the_registry_at_risk_is_one_warning(field, value, word):
    (warning,) = server_facts(GOOD | {field: value}).warnings

    assert word in warning


@pytest.mark.parametrize(
    ("info", "limit"),
    [
        ({"maxmemory": "2000", "total_system_memory": "9000"}, 2000),
        ({"maxmemory": "0", "total_system_memory": "9000"}, 9000),
        ({"maxmemory": "0"}, 0),
    ],
)
def test_a_server_may_use_what_it_is_given_or_else_all_of_its_machine(info, limit):
    facts = server_facts(GOOD | {"used_memory": "1500"} | info)

    assert (facts.memory_bytes, facts.memory_limit_bytes) == (1500, limit)


def test_valkey_is_known_by_its_own_version():
    facts = server_facts(GOOD | {"valkey_version": "9.1.2", "redis_version": "7.2.4"})

    assert (facts.name, facts.version) == ("valkey", "9.1.2")


def test_info_is_read_with_its_sections_and_odd_values():
    assert parse_info("# Server\r\na:1\r\n\r\nb:x:y\r\n") == {"a": "1", "b": "x:y"}
