"""``moq-relay drain`` and ``uncordon`` against a relay that answers by script."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from moq_relay.daemon.commands.asking import Unanswered
from moq_relay.daemon.commands.changing import main
from moq_relay.errors import ConfigError

ENVIRONMENT = {"MOQ_INTERNAL_TOKEN": "secret"}


def facts(state, sessions=0, seconds=0.0, *, leaves=True, instance="a"):
    return {
        "state": state,
        "sessions": sessions,
        "seconds_left": seconds,
        "leaves": leaves,
        "instance": instance,
    }


class Relay:
    """Answers in order, and goes away when it has no more to say."""

    def __init__(self):
        self.answers = []
        self.asked = []
        relay = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                relay.asked.append((self.command, self.path))
                self._answer()

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                words = (self.headers["Authorization"], self.headers["Content-Type"])
                relay.asked.append((self.command, self.path, *words, body))
                self._answer()

            def _answer(self):
                status, said = relay.answers.pop(0)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(
                    said.encode() if isinstance(said, str) else json.dumps(said).encode()
                )

            def log_message(self, *_):
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def end(self):
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


@pytest.fixture
def relay():
    made = Relay()
    yield made
    made.end()


def run(relay, *words, environment=ENVIRONMENT, pause=lambda _: None):
    return main([*words, "--internal", relay.url], environment, pause)


def test_a_drain_is_shown_until_it_is_over(relay, capsys):
    relay.answers = [
        (200, facts("settling", 12, 20.0)),
        (200, facts("draining", 12, 17.4)),
        (200, facts("draining", 12, 17.4)),
        (200, facts("draining", 1, 3.2)),
        (200, facts("drained")),
    ]

    assert run(relay, "drain", "--deadline", "20") == 0

    assert capsys.readouterr().out.splitlines() == [
        "settling: 12 sessions left, 20 s",
        "draining: 12 sessions left, 17 s",
        "draining: 1 session left, 3 s",
        "drained; the relay leaves",
    ]
    post = ("POST", "/drain", "Bearer secret", "application/json", {"deadline": 20.0})
    assert relay.asked == [post, *[("GET", "/drain")] * 4]


def test_a_relay_that_has_left_is_drained(relay, capsys):
    relay.answers = [(200, facts("draining", 1, 5.0))]

    assert run(relay, "drain", pause=lambda _: relay.end()) == 0

    assert capsys.readouterr().out.endswith("drained; the relay leaves\n")


def test_a_relay_that_was_started_again_meanwhile_was_drained(relay, capsys):
    relay.answers = [(200, facts("draining", 1)), (200, facts("serving", instance="b"))]

    assert run(relay, "drain") == 0

    assert capsys.readouterr().out.endswith("drained; the relay leaves\n")


def test_a_relay_that_stays_says_so(relay, capsys):
    relay.answers = [(200, facts("drained", leaves=False))]

    assert run(relay, "drain", "--stay") == 0

    assert capsys.readouterr().out == "drained; uncordon undoes it\n"
    assert relay.asked[0][-1] == {"stay": True}


def test_a_drain_that_somebody_undid_is_a_failure(relay):
    relay.answers = [(200, facts("draining", 1)), (200, facts("serving", leaves=False))]

    with pytest.raises(Unanswered, match="serves again: the drain was undone"):
        run(relay, "drain")


def test_uncordon_says_that_it_serves_again(relay, capsys, tmp_path):
    (tmp_path / "token").write_text("from a file\n")
    relay.answers = [(200, facts("serving"))]

    assert run(relay, "uncordon", "--token-file", str(tmp_path / "token")) == 0

    assert capsys.readouterr().out == "the relay serves again\n"
    assert relay.asked == [("POST", "/uncordon", "Bearer from a file", "application/json", {})]


@pytest.mark.parametrize("command", ["drain", "uncordon"])
def test_a_refusal_is_one_line_with_the_relay_s_own_words(relay, command):
    relay.answers = [(401, "the token is wrong\n")]

    with pytest.raises(Unanswered) as error:
        run(relay, command)

    assert str(error.value) == f"{relay.url} answers 401: the token is wrong"


def test_a_relay_that_is_not_there_is_one_line(relay):
    relay.end()

    with pytest.raises(Unanswered) as error:
        run(relay, "drain")

    assert str(error.value) == (
        f"{relay.url} does not answer: connection refused; "
        "--internal takes the URL of the relay's internal.listen"
    )


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        ((), {}, "the relay's internal.token is needed: --token-file FILE, or MOQ_INTERNAL_TOKEN"),
        (("--token-file", "/nowhere"), {}, "/nowhere: cannot be read: no such file or directory"),
        ((), {"MOQ_INTERNAL_TOKEN_FILE": "/dev/null"}, "/dev/null: is empty"),
        (
            (),
            {"MOQ_INTERNAL_TOKEN": "a", "MOQ_INTERNAL_TOKEN_FILE": "/dev/null"},
            "MOQ_INTERNAL_TOKEN and MOQ_INTERNAL_TOKEN_FILE are both set; keep one",
        ),
        (("--deadline", "soon"), ENVIRONMENT, "--deadline: must be a time in seconds"),
        (("--dedline", "3"), ENVIRONMENT, "unrecognized arguments: --dedline 3"),
        ((), {"MOQ_INTERNAL_TOKEN": "ключ"}, "the token has characters that no header can carry"),
        ((), {"MOQ_INTERNAL_TOKEN": "a\nb"}, "the token has characters that no header can carry"),
    ],
)
def test_a_mistake_costs_one_line_and_no_question(relay, words, environment, said):
    with pytest.raises(ConfigError) as error:
        run(relay, "drain", *words, environment=environment)

    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)
    assert relay.asked == []
