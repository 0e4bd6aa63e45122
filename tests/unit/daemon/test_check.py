"""`moq-relay check`: what it prints can be used as a configuration."""

import tomllib

import pytest

from moq_relay.daemon.cli import main
from moq_relay.daemon.commands.check import in_force
from moq_relay.daemon.config.sources import Layer, keys, load, read_environment

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


NAMES = {key.name for key in keys()}
IN_A_FILE = sorted(key.name for key in keys() if key.secret and f"{key.name}_file" in NAMES)


@pytest.mark.parametrize("command", [["check"], []], ids=["check", "start"])
@pytest.mark.parametrize("name", IN_A_FILE)
def test_a_secret_and_a_file_with_it_contradict_each_other(
    name, command, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    section, _, last = name.partition(".")
    variable = f"MOQ_{name}_FILE".upper().replace(".", "_")
    monkeypatch.setenv(variable, "secret")
    (tmp_path / "secret").write_text("redis://localhost:1")
    # At an address that no machine has, so that no relay would be here to stay.
    text = 'server.listen = "192.0.2.1:1"\nserver.tls.generate = "localhost"\n'
    (tmp_path / "relay.toml").write_text(f'{text}[{section}]\n{last} = "redis://localhost:2"\n')

    assert main([*command, "relay.toml"]) == 2

    assert capsys.readouterr().err == (
        f"moq-relay: relay.toml: {name} and {variable} are both set; keep one\n"
    )


def test_every_secret_may_be_in_a_file():
    assert sorted(key.name for key in keys() if key.secret) == IN_A_FILE
