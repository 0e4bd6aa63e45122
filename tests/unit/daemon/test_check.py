"""`moq-relay check`: what it prints can be used as a configuration."""

import tomllib

from moq_relay.daemon.check import in_force
from moq_relay.daemon.sources import Layer, load, read_environment

EVERYTHING = {
    "server": {
        "listen": ["[::]:4443", {"listen": "localhost:4444", "version": ["moq-lite-04"]}],
        "version": "moq-lite-05",
        "tls": {"generate": ["localhost", "relay.example"]},
    },
    "web": {"http": {"listen": "127.0.0.1:80"}},
    "auth": {"public": {"subscribe": "", "publish": ["a", "b/c"]}},
    "cache": {"duration": "1500ms"},
}


def test_it_prints_every_setting_and_where_it_came_from():
    variables, _ = read_environment({"MOQ_LOG_LEVEL": "debug"})
    file = Layer("relay.toml", {"server": {"tls": {"generate": "localhost"}}})

    printed = in_force(load([file, variables])).splitlines()

    columns = [tuple(part.strip() for part in line.rsplit("  # ", 1)) for line in printed]
    assert ('server.listen = "[::]:443"', "default") in columns
    assert ('server.tls.generate = "localhost"', "relay.toml") in columns
    assert ('log.level = "debug"', "MOQ_LOG_LEVEL") in columns
    assert ("cluster.linger = 5", "default") in columns
    assert ("# web.http.listen is not set: public HTTP is not served", "default") in columns
    assert (
        "# auth.public is not set: nobody may publish or watch; "
        'set auth.public = "" to allow everybody everything'
    ) in [what for what, _ in columns]


def test_what_it_prints_is_a_configuration_of_the_same_meaning():
    loaded = load([Layer("relay.toml", EVERYTHING)])

    again = load([Layer("again.toml", tomllib.loads(in_force(loaded)))])

    assert again.settings.model_dump() == loaded.settings.model_dump()
