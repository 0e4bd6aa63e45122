"""Settings: which place wins, and the one line that every mistake costs."""

# ruff: noqa: E501 — a row of a table is a line

import pytest

from moq_relay.daemon.config.flags import parse
from moq_relay.daemon.config.sources import keys, load, read_environment, read_file
from moq_relay.daemon.config.values import Address, Listener, Public
from moq_relay.errors import ConfigError

TLS = '\n[server.tls]\ngenerate = "localhost"\n'


@pytest.fixture
def settle(tmp_path, monkeypatch):
    """Settings of a file's text, an environment and a command line."""
    monkeypatch.chdir(tmp_path)

    def settle(text="", environment=None, arguments=(), tls=TLS):
        (tmp_path / "relay.toml").write_text(text + tls)
        command = parse(["relay.toml", *arguments])
        variables, _ = read_environment(environment or {})
        return load([read_file(command.file), variables, command.flags])

    return settle


@pytest.fixture
def line(settle):
    """The line that wrong settings cost."""

    def line(*args, **kwargs):
        with pytest.raises(ConfigError) as caught:
            settle(*args, **kwargs)
        return str(caught.value)

    return line


def test_a_variable_beats_the_file_and_a_flag_beats_both(settle):
    text = "[limits]\nsessions = 1\nrequests_per_session = 1\nannounces_per_session = 1\n"
    variables = {"MOQ_LIMITS_SESSIONS": "2", "MOQ_LIMITS_REQUESTS_PER_SESSION": "2"}

    loaded = settle(text, variables, ["--limits-sessions", "3"])

    limits = loaded.settings.limits
    assert limits.sessions == 3
    assert limits.requests_per_session == 2
    assert limits.announces_per_session == 1
    assert loaded.origin("limits.sessions") == "--limits-sessions"
    assert loaded.origin("limits.requests_per_session") == "MOQ_LIMITS_REQUESTS_PER_SESSION"
    assert loaded.origin("limits.announces_per_session") == "relay.toml"
    assert loaded.origin("limits.viewer_backlog") == "default"


@pytest.mark.parametrize(
    ("variables", "arguments"),
    [
        ({"MOQ_SERVER_BIND": "[::1]:9"}, []),
        ({"MOQ_SERVER_LISTEN": "[::1]:9"}, []),
        ({}, ["--server-bind", "[::1]:9"]),
        ({}, ["--server-listen=[::1]:9"]),
    ],
)
def test_the_old_names_of_the_listener_still_work(settle, variables, arguments):
    loaded = settle("", variables, arguments)

    assert loaded.settings.server.listen == (Listener(Address("::1", 9)),)


@pytest.mark.parametrize("flag", ["--tls-generate", "--server-tls-generate"])
def test_the_certificate_is_generated_for_the_names_of_a_flag(settle, flag):
    loaded = settle(tls="", arguments=[flag, "a.example,b.example", flag, "c.example"])

    assert loaded.settings.server.tls.generate == ("a.example", "b.example", "c.example")


def test_listeners_are_a_string_a_list_or_tables_with_versions(settle):
    text = (
        '[server]\nlisten = ["0.0.0.0:1", {listen = "[::]:2"}, '
        '{listen = "localhost:3", version = ["moq-lite-04", "moq-lite-03"]}]\n'
    )

    loaded = settle(text)

    assert loaded.settings.server.listen == (
        Listener(Address("0.0.0.0", 1)),
        Listener(Address("::", 2)),
        Listener(Address("localhost", 3), ("moq-lite-04", "moq-lite-03")),
    )


@pytest.mark.parametrize(
    ("text", "variables", "public"),
    [
        ('public = ""', {}, Public(("",), ("",))),
        ('public = "anon/"', {}, Public(("anon",), ("anon",))),
        ('public = ["a", "/b"]', {}, Public(("a", "b"), ("a", "b"))),
        ('public = {subscribe = ""}', {}, Public(("",), ())),
        ("public = []", {}, Public((), ())),
        ("", {}, None),
        ("", {"MOQ_AUTH_PUBLIC": ""}, Public(("",), ("",))),
        ("", {"MOQ_AUTH_PUBLIC": "a,b"}, Public(("a", "b"), ("a", "b"))),
        ('public = {subscribe = ""}', {"MOQ_AUTH_PUBLIC_PUBLISH": "a"}, Public(("",), ("a",))),
        ('public = "x"', {"MOQ_AUTH_PUBLIC_SUBSCRIBE": "a"}, Public(("a",), ())),
    ],
)
def test_what_is_public_is_a_string_a_list_or_a_table(settle, text, variables, public):
    loaded = settle(f"[auth]\n{text}\n", variables)

    assert loaded.settings.auth.public == public


def test_sizes_and_times_may_have_units(settle):
    loaded = settle(
        '[cache]\ncapacity = "64 MiB"\nduration = "2m"\n[cluster]\nlinger = 0.5\n',
        {"MOQ_LIMITS_HANDSHAKE_SECONDS": "500ms", "MOQ_LIMITS_FRAME_BYTES": "1.5kB"},
    )

    settings = loaded.settings
    assert settings.cache.capacity == 64 << 20
    assert settings.cache.duration == 120
    assert settings.cluster.linger == 0.5
    assert settings.limits.handshake_seconds == 0.5
    assert settings.limits.frame_bytes == 1500


def test_an_empty_address_turns_a_listener_off(settle):
    loaded = settle('[internal]\nlisten = ""\n', {"MOQ_WEB_HTTP_LISTEN": ""})

    assert loaded.settings.internal.listen is None
    assert loaded.settings.web.http.listen is None


def test_a_switch_is_a_flag_and_its_negation(settle):
    assert settle(arguments=["--demo-enabled"]).settings.demo.enabled
    assert not settle(
        "[demo]\nenabled = true", arguments=["--no-demo-enabled"]
    ).settings.demo.enabled
    assert settle("", {"MOQ_DEMO_ENABLED": "yes"}).settings.demo.enabled


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nlisen = 1", "relay.toml: server.lisen is not a setting; did you mean server.listen?"),
        ("[servr]\nlisten = 1", "relay.toml: servr is not a setting; did you mean server?"),
        ("[web]\nlisten = 1", "relay.toml: web.listen is not a setting; did you mean web.http.listen?"),
        ("[server.tls]\ngenrate = 1", "relay.toml: server.tls.genrate is not a setting; did you mean server.tls.generate?"),
        ("q = 1", "relay.toml: q is not a setting; docs/configuration.md lists them all"),
        ('log = "debug"', 'relay.toml: log = "debug" must be a table; write its settings below [log]'),
        ('[log]\nlevel = "loud"', 'relay.toml: log.level = "loud" must be one of error, warning, info, debug'),
        ('[log]\nformat = 3', "relay.toml: log.format = 3 must be one of text, json"),
        ('[server]\nlisten = "localhost"', 'relay.toml: server.listen = "localhost" is not an address with a port; write host:port, like "[::]:4443"'),
        ("[server]\nlisten = 4443", 'relay.toml: server.listen = 4443 is not an address with a port; write host:port, like "[::]:4443"'),
        ("[server]\nlisten = []", 'relay.toml: server.listen = [] is an empty list; write host:port, like "[::]:4443"'),
        ('[server]\nlisten = "a:99999"', 'relay.toml: server.listen = "a:99999" has port 99999; a port is at most 65535'),
        ('[server]\nlisten = "::1:44"', 'relay.toml: server.listen = "::1:44" is not clear about its port; write brackets, like "[::1]:4443"'),
        ('[server]\nlisten = ":44"', 'relay.toml: server.listen = ":44" has no host; "[::]:44" listens on every address'),
        ('[server]\nlisten = "a b:44"', "relay.toml: server.listen = \"a b:44\" has 'a b' where a host name or an IP address belongs"),
        ('[server]\nlisten = ["a:1", "a:1"]', 'relay.toml: server.listen = ["a:1", "a:1"] has a:1 twice; a socket has one entry'),
        ('[server]\nlisten = {listen = "a:1", verion = "x"}', "relay.toml: server.listen = {\"listen\": \"a:1\", \"verion\": \"x\"} has an entry with 'verion'; an entry has listen and version"),
        ('[server]\nlisten = {version = "moq-lite-05"}', 'relay.toml: server.listen = {"version": "moq-lite-05"} has an entry without listen; an entry has listen and version'),
        ('[server]\nversion = "moq-5"', "relay.toml: server.version = \"moq-5\" names version 'moq-5', which this relay does not speak; known: moq-lite-06, moq-lite-05, moq-lite-04, moq-lite-03, moq-lite-02"),
        ("[server]\nversion = []", "relay.toml: server.version = [] names no version; leave it out to offer all of them: moq-lite-06, moq-lite-05, moq-lite-04, moq-lite-03, moq-lite-02"),
        ("[limits]\nsessions = true", "relay.toml: limits.sessions = true must be a whole number"),
        ("[limits]\nsessions = 1.5", "relay.toml: limits.sessions = 1.5 must be a whole number"),
        ("[limits]\nsessions = 0", "relay.toml: limits.sessions = 0 must be more than 0"),
        ('[limits]\ntrusted_networks = "10.0.0.1/8"', "relay.toml: limits.trusted_networks = \"10.0.0.1/8\" has '10.0.0.1/8' where a network belongs, like \"10.0.0.0/8\" or \"2001:db8::/48\""),
        ("[limits]\nshed = 1.1", "relay.toml: limits.shed = 1.1 must be above 0 and at most 1"),
        ("[limits]\nshed = true", "relay.toml: limits.shed = true must be above 0 and at most 1"),
        ('[limits]\nshed = "much"', 'relay.toml: limits.shed = "much" must be above 0 and at most 1'),
        ("[limits.tenant]\nsessions = 0", "relay.toml: limits.tenant.sessions = 0 must be more than 0"),
        ("[limits]\nhandshake_seconds = 0", "relay.toml: limits.handshake_seconds = 0 must be more than 0"),
        ("[limits]\nframe_bytes = -1", "relay.toml: limits.frame_bytes = -1 must not be negative"),
        ("[limits]\nframe_bytes = 1.5", "relay.toml: limits.frame_bytes = 1.5 is not a whole number of bytes"),
        ('[cache]\ncapacity = "12 XB"', 'relay.toml: cache.capacity = "12 XB" must be a size, like 1048576 or "256 MiB"'),
        ("[cache]\nduration = nan", 'relay.toml: cache.duration = NaN must be a time in seconds, like 5, 0.5 or "500ms"'),
        ("[cache]\nduration = []", 'relay.toml: cache.duration = [] must be a time in seconds, like 5, 0.5 or "500ms"'),
        ("[demo]\nenabled = 1", "relay.toml: demo.enabled = 1 must be true or false"),
        ("[auth]\npublic = 5", "relay.toml: auth.public = 5 must be a string or a list of strings"),
        ('[auth]\npublic = {reed = "a"}', "relay.toml: auth.public = {\"reed\": \"a\"} has 'reed'; the table has subscribe and publish"),
        (f'[auth]\npublic = "{"a/" * 40}"', f'relay.toml: auth.public = "{"a/" * 29}a… is not a prefix of paths: a path has more than 32 segments'),
    ],
)  # fmt: skip
def test_every_mistake_in_the_file_is_one_line(line, text, said):
    assert line(text + "\n", tls="") == said


def test_every_mistake_is_told_at_once(line):
    text = "[limits]\nsessions = 0\nframe_bytes = -1\n"

    assert line(text).splitlines() == [
        "relay.toml: limits.frame_bytes = -1 must not be negative",
        "relay.toml: limits.sessions = 0 must be more than 0",
    ]


def test_a_mistake_names_the_place_that_was_in_force(line):
    text = "[limits]\nsessions = 5\n"

    assert line(text, {"MOQ_LIMITS_SESSIONS": "many"}) == (
        'MOQ_LIMITS_SESSIONS = "many" must be a whole number'
    )
    assert line(text, {"MOQ_LIMITS_SESSIONS": "6"}, ["--limits-sessions", "many"]) == (
        '--limits-sessions "many" must be a whole number'
    )
    assert line(arguments=["--server-bind", "here"]) == (
        '--server-bind "here" is not an address with a port; write host:port, like "[::]:4443"'
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server\n", "is not TOML: expected ']' at the end of a table declaration (at line 1, column 8)"),
        ("a = 1\na = 2\n", "is not TOML: cannot overwrite a value (at line 2, column 6)"),
    ],
)  # fmt: skip
def test_a_slip_in_the_syntax_is_one_line_with_its_place(line, text, said):
    assert line(text, tls="") == f"relay.toml: {said}"


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"a = '\xe4'")

    with pytest.raises(ConfigError, match=r"none.toml: cannot be read: no such file or directory$"):
        read_file(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r": cannot be read: is a directory$"):
        read_file(tmp_path)
    with pytest.raises(ConfigError, match=r"latin.toml: is not UTF-8 text$"):
        read_file(latin)


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        ("", 'server.tls has no certificate; set server.tls.cert and server.tls.key, or server.tls.generate = "localhost" for a self-signed one'),
        ('[server.tls]\ncert = "a"', "relay.toml: server.tls.cert is set without server.tls.key; set both"),
        ('[server.tls]\nkey = "a"', "relay.toml: server.tls.key is set without server.tls.cert; set both"),
        ('[server.tls]\ncert = "a"\nkey = "b"\ngenerate = "c"', "relay.toml: server.tls.cert and relay.toml: server.tls.generate are both set; keep one of them"),
        ('[cluster]\nallow = ["a.example:443"]\n', "relay.toml: cluster.allow = \"a.example:443\" has 'a.example:443', which is no host, *.domain, address or network"),
        ('[server.tls]\ncert = ["a", "b"]\nkey = "b"', "relay.toml: server.tls.cert names 2 files and relay.toml: server.tls.key 1; each certificate needs its key, in the same order"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_together_are_one_line(line, tls, said):
    assert line(tls=tls) == said


def test_a_variable_that_is_no_setting_is_a_warning():
    layer, warnings = read_environment(
        {"MOQ_SERVER_LISTNE": "a:1", "MOQ_LOG_LEVEL": "debug", "HOME": "/"}
    )

    assert layer.tree == {"log": {"level": "debug"}}
    assert warnings == [
        "MOQ_SERVER_LISTNE is set in the environment and is not a setting; did you mean MOQ_SERVER_LISTEN?"
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--server-lisen", "a:1"], "--server-lisen is not a flag; did you mean --server-listen?"),
        (["--zzz"], "--zzz is not a flag; --help lists them all"),
        (["--log-level"], "--log-level: expected one argument; see moq-relay --help"),
        (["a.toml", "b.toml"], "one file at most, not 2: a.toml b.toml"),
        (["check", "a.toml", "--file", "b.toml"], "one file at most, not 2: a.toml b.toml"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(arguments, said):
    with pytest.raises(ConfigError) as caught:
        parse(arguments)

    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("arguments", "name", "file"),
    [
        ([], "run", None),
        (["relay.toml"], "run", "relay.toml"),
        (["--file", "check"], "run", "check"),
        (["check", "relay.toml"], "check", "relay.toml"),
        (["--log-level", "debug", "check", "relay.toml"], "check", "relay.toml"),
        (["demo"], "demo", None),
    ],
)
def test_the_first_word_may_be_a_command(arguments, name, file):
    command = parse(arguments)

    assert command.name == name
    assert (str(command.file) if command.file else None) == file


def test_every_setting_says_what_it_means_and_how_it_is_written():
    for key in keys():
        assert key.meaning, key.name
        assert key.form.text, key.name


def test_no_two_settings_share_a_variable_or_a_flag():
    names = [name for key in keys() for name in (*key.variables, *key.flags)]

    assert len(names) == len(set(names))
