"""``moq-relay token revoke`` against a relay that answers by script."""

import pytest

from moq_relay.daemon import cli
from moq_relay.daemon.commands import revoking
from tests.unit.daemon.test_changing import ENVIRONMENT, Relay
from tests.unit.daemon.test_tokens import KEY

TOLD = {"revocations": 1, "pending": 0, "shared": True, "known": True, "isolated": None}


def told(**facts):
    """An answer of the relay."""
    return 200, TOLD | facts


POSTED = ("POST", "/revoke", "Bearer secret", "application/json")


@pytest.fixture
def relay():
    made = Relay()
    yield made
    made.end()


@pytest.fixture
def revoke(relay, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(revoking.run, "__defaults__", (lambda _: None,))

    def revoke(*words, internal=True):
        where = ["--internal", relay.url] if internal else []
        return cli.main(["token", "revoke", *words, *where]), *capsys.readouterr()

    return revoke


def test_it_comes_back_when_the_registry_has_it(relay, revoke):
    relay.answers = [told(pending=1), told(pending=1), told()]

    code, said, _ = revoke("--token-id", "a", "--token-id", "b", "--expires", "4000000000")

    assert code == 0
    assert said == "taken back on every relay that is in touch with the registry\n"
    assert relay.asked[0] == (*POSTED, {"jti": ["a", "b"], "expires": 4_000_000_000})
    assert relay.asked[1:] == [("GET", "/revocations")] * 2


def test_a_subject_is_taken_back_as_of_now_or_of_a_moment(relay, revoke):
    relay.answers = [told(), told()]

    assert revoke("--subject", "bob")[0] == 0
    assert revoke("--subject", "bob", "--issued-until", "1000")[0] == 0

    assert relay.asked[0] == (*POSTED, {"sub": ["bob"]})
    assert relay.asked[1] == (*POSTED, {"sub": ["bob"], "issued_until": 1000})


def test_a_token_in_a_file_is_taken_back_until_its_end(relay, revoke, tmp_path):
    relay.answers = [told()]
    (tmp_path / "t.jwt").write_text(KEY.sign(get="", jti="x", sub="bob", exp=4_000_000_000))

    assert revoke("--in", "t.jwt")[0] == 0

    assert relay.asked == [(*POSTED, {"jti": ["x"], "expires": 4_000_000_000})]


def test_a_relay_that_cannot_tell_the_others_is_no_success(relay, revoke):
    relay.answers = [told(pending=1, isolated="the registry is unreachable")] * 60

    code, said, error = revoke("--token-id", "a")

    assert (code, said) == (1, "")
    assert "not told to the others yet" in error
    assert "the registry is unreachable" in error


def test_a_relay_that_stands_alone_says_how_long_it_remembers(relay, revoke):
    relay.answers = [told(shared=False)]

    assert revoke("--token-id", "a")[:2] == (
        0,
        "taken back on this relay, which stands alone, until it is restarted\n",
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "--in, --token-id or --subject says which"),
        (["--in", "none"], "none: cannot be read"),
        (["--in", "junk"], "--in holds no token"),
        (["--in", "nameless"], "it has neither jti nor sub"),
        (["--in", "subject"], "it has no jti; --subject takes back all"),
        (["--in", "subject", "--token-id", "a"], "--in goes without --token-id and --subject"),
        (["--token-id", "a", "--issued-until", "5"], "--issued-until goes with --subject alone"),
        (["--token-id", "a", "--expires", "soon"], "is no time"),
        (["--tokenid", "a"], "unrecognized arguments"),
    ],
)
def test_a_mistake_is_a_line_and_asks_nobody(relay, revoke, tmp_path, words, reason):
    (tmp_path / "junk").write_text("x.y.z")
    (tmp_path / "nameless").write_text(KEY.sign(get=""))
    (tmp_path / "subject").write_text(KEY.sign(get="", sub="bob"))

    code, said, error = revoke(*words)

    assert (code, said) == (2, "")
    assert reason in error
    assert "Traceback" not in error
    assert relay.asked == []


def test_without_the_relay_s_token_nobody_is_asked(relay, revoke, monkeypatch):
    monkeypatch.delenv("MOQ_INTERNAL_TOKEN")

    code, _, error = revoke("--token-id", "a")

    assert (code, relay.asked) == (2, [])
    assert "internal.token is needed" in error
