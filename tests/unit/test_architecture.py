"""Rules that no linter knows; each names the decision it guards and is seen to fail below."""

import ast
import importlib.util
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "moq_relay"
FILES = sorted(PACKAGE.rglob("*.py"))

MAX_LINES = 400
"""What one sitting reads; a longer file has two jobs."""

VERSION_NAME = re.compile(r"\b(LITE|DRAFT)_\d\d\b|moq-lite-\d\d|\bmoqt?-\d\d\b|[\"']moql[\"']")
"""docs/adr/0002-versions-as-tables.md: only a ``versions.py`` may match it."""

ENGINE = frozenset(
    f"transports/quic/{name}.py" for name in ("engine", "named", "proof", "steady", "tap")
)
"""docs/adr/0004-engine-seam.md, 0006-fast-writer.md: who may touch a private name of aioquic."""

HOT: dict[str, tuple[str, ...]] = {
    "wire/lite/frames.py": ("FrameDecoder.feed", "append_frame"),
    "relay/feed.py": ("Feed.open_group",),
    "relay/track.py": ("Track.open_group", "Track._tell"),
    "relay/group.py": ("Group.append", "Group.finish", "Group._ring"),
    "sessions/scheduler.py": ("Scheduler.room", "Scheduler.wait", "Scheduler.resume"),
    "sessions/lite/session.py": (
        "LiteSession.stream_data",
        "LiteSession._contain",
        "LiteSession._feed_uni",
    ),
    "sessions/lite/ingress.py": ("GroupIngress.feed", "GroupIngress._append"),
    "sessions/lite/coding.py": ("Coding.of", "Coding.catch_up"),
    "sessions/lite/delivery.py": (
        "Delivery.handed_over",
        "Delivery.ended",
        "Delivery.finished",
    ),
    "sessions/lite/egress.py": ("GroupEgress.ready", "GroupEgress.pump"),
    "cluster/ingestion.py": ("_Mouth.tell",),
    "transports/quic/datagram_io.py": ("DatagramIO._read",),
    "transports/quic/endpoint.py": ("Endpoint._received", "Endpoint._flush"),
    "transports/quic/driver.py": (
        "Connection.receive",
        "Connection.flush",
        "Connection._drain",
        "Connection._guarded",
    ),
    "transports/quic/connection.py": (
        "QuicTransport.send",
        "QuicTransport.arrived",
        "QuicTransport.flushed",
        "RawBinding.event",
    ),
    "transports/quic/engine.py": ("Engine.send_slice", "Engine.wants_to_send", "Engine.transmit"),
    "transports/quic/slices.py": (
        "SliceSender.write_slice",
        "SliceSender.get_frame",
        "SliceSender._cut",
        "SliceSender.on_data_delivery",
    ),
    "transports/quic/steady.py": (
        "SteadyConnection.steady",
        "SteadyConnection.write_streams",
        "SteadyConnection._fill",
        "SteadyConnection._protected",
    ),
}
"""docs/adr/0003-calls-for-data-awaits-for-control.md: file -> the functions (``function`` or
``Class.method``) on the way of a frame from the publisher's datagram to the viewer's. A function
that moves has to tell this table."""

ISOLATES = {
    "relay/group.py:Group._ring": "one reader of a group",
    "relay/track.py:Track._tell": "one reader of a track",
    "sessions/lite/session.py:LiteSession._contain": "one session",
    "sessions/lite/ingress.py:GroupIngress.feed": "one group of a publisher",
    "transports/quic/datagram_io.py:DatagramIO._read": "an empty socket, which Python raises",
    "transports/quic/driver.py:Connection.receive": "one connection",
    "transports/quic/driver.py:Connection.flush": "one connection",
    "transports/quic/driver.py:Connection._guarded": "one connection",
}
"""The places of the hot path that may catch, ``file:function`` -> what their catching contains."""

LOGGERS = {"log", "logger", "logging", "print", "warnings", "_log", "_logger"}


# --- the rules: each yields one line per breach ---------------------------------------------------


def overlong(name: str, source: str) -> Iterator[str]:
    if (lines := len(source.splitlines())) > MAX_LINES:
        yield f"{name}: {lines} lines, more than {MAX_LINES}"


def named_versions(name: str, source: str) -> Iterator[str]:
    if Path(name).name == "versions.py":
        return
    for number, line in enumerate(source.splitlines(), 1):
        if VERSION_NAME.search(line):
            yield f"{name}:{number}: names a version: {line.strip()}"


def engine_private_names() -> frozenset[str]:
    """Every private attribute that the engine's own classes set or define."""
    found: set[str] = set()
    spec = importlib.util.find_spec("aioquic")
    assert spec is not None
    assert spec.origin is not None
    for file in Path(spec.origin).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Attribute(value=ast.Name(id="self"), attr=attr, ctx=ast.Store()):
                    found.add(attr)
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    found.add(node.name)
    return frozenset(name for name in found if re.match(r"_[a-z]", name))


def private_engine_use(name: str, source: str, private: frozenset[str]) -> Iterator[str]:
    """Private names reached through anything but ``self`` or ``cls``, imported, or overridden."""
    if name in ENGINE:
        return
    tree = ast.parse(source)
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "aioquic":
            imported |= {alias.asname or alias.name for alias in node.names}
            for alias in node.names:
                if alias.name.startswith("_"):
                    yield f"{name}:{node.lineno}: imports {node.module}.{alias.name}"
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                continue
            case ast.Attribute(attr=attr) if attr in private:
                yield f"{name}:{node.lineno}: touches {attr}, a private name of the engine"
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "hasattr" | "delattr"),
                args=[_, ast.Constant(value=str(attr)), *_],
            ) if attr in private:
                yield f"{name}:{node.lineno}: touches {attr}, a private name of the engine"
            case ast.ClassDef(bases=bases) if imported & {ast.unparse(base) for base in bases}:
                for inner in ast.walk(node):
                    match inner:
                        case ast.FunctionDef(name=own) | ast.AsyncFunctionDef(name=own):
                            pass
                        case ast.Attribute(value=ast.Name(id="self"), attr=own):
                            pass
                        case _:
                            continue
                    if own in private:
                        yield f"{name}:{inner.lineno}: inherits {own}, a private name of the engine"


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Module-level functions and methods, by ``function`` and ``Class.method``."""
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name, node
            case ast.ClassDef():
                for member in node.body:
                    if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
                        yield f"{node.name}.{member.name}", member


def cold_steps(
    name: str, source: str, hot: Iterable[str], isolates: Iterable[str] = ()
) -> Iterator[str]:
    """What no hot function does: wait, log outside an ``except``, or catch without isolating."""
    found = dict(functions(ast.parse(source)))
    for function in hot:
        match found.get(function):
            case None:
                yield f"{name}: {function} is gone; tell HOT where it went"
            case ast.AsyncFunctionDef():
                yield f"{name}: {function} became a coroutine"
            case node:
                catches = f"{name}:{function}" in isolates
                for line, what in cold_nodes(node, catches=catches):
                    yield f"{name}:{line}: {function} {what}"


def cold_nodes(function: ast.FunctionDef, *, catches: bool) -> Iterator[tuple[int, str]]:
    in_except = {
        id(node)
        for handler in ast.walk(function)
        if isinstance(handler, ast.ExceptHandler)
        for node in ast.walk(handler)
    }
    for node in ast.walk(function):
        match node:
            case ast.Await() | ast.AsyncFor() | ast.AsyncWith() | ast.Yield() | ast.YieldFrom():
                yield node.lineno, "waits"
            case ast.Try(handlers=[_, *_]) | ast.TryStar() if not catches:
                yield node.lineno, "catches"
            case ast.Name(id="suppress") | ast.Attribute(attr="suppress") if not catches:
                yield node.lineno, "catches"
            case ast.Name(id=used) | ast.Attribute(attr=used) if used in LOGGERS:
                if id(node) not in in_except:
                    yield node.lineno, "logs"


# --- the rules, held against the package ----------------------------------------------------------


def relative(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_no_file_outgrows_one_sitting(file):
    assert list(overlong(relative(file), file.read_text())) == []


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_only_a_versions_module_names_a_version(file):
    assert list(named_versions(relative(file), file.read_text())) == []


def test_only_the_engine_files_touch_the_private_names_of_aioquic():
    private = engine_private_names()

    breaches = [
        breach
        for file in FILES
        for breach in private_engine_use(relative(file), file.read_text(), private)
    ]

    assert breaches == []


@pytest.mark.parametrize("name", HOT)
def test_the_hot_path_never_waits_logs_or_catches(name):
    source = (PACKAGE / name).read_text()

    assert list(cold_steps(name, source, HOT[name], ISOLATES)) == []


def test_every_place_that_isolates_is_on_the_hot_path():
    listed = {f"{name}:{function}" for name, names in HOT.items() for function in names}

    assert set(ISOLATES) <= listed


# --- the rules, seen to fail ----------------------------------------------------------------------


def test_a_file_of_401_lines_is_overlong():
    assert list(overlong("relay/a.py", "x = 1\n" * 400)) == []
    assert list(overlong("relay/a.py", "x = 1\n" * 401)) == ["relay/a.py: 401 lines, more than 400"]


@pytest.mark.parametrize(
    "line", ['"moq-lite-05"', "LITE_04.features", '"moqt-18"', "DRAFT_16", "'moql'", '"moq-00"']
)
def test_a_version_named_outside_versions_is_found(line):
    assert len(list(named_versions("sessions/open.py", f"x = {line}\n"))) == 1
    assert list(named_versions("wire/lite/versions.py", f"x = {line}\n")) == []


INHERITS = "from aioquic.h3.connection import H3Connection\nclass A(H3Connection):\n"


@pytest.mark.parametrize(
    "line",
    [
        "quic._loss.get_probe_timeout()",
        "self._quic._streams",
        'getattr(quic, "_streams")',
        "super()._get_local_settings()",
        "from aioquic.h3.connection import _secret",
        f"{INHERITS}    def _get_local_settings(self): ...",
        f"{INHERITS}    def f(self): return self._streams",
    ],
)
def test_a_private_name_of_the_engine_outside_its_file_is_found(line):
    private = engine_private_names()

    found = list(private_engine_use("transports/quic/endpoint.py", line, private))

    assert len(found) == 1
    for name in ENGINE:
        assert list(private_engine_use(name, line, private)) == []


def test_our_own_private_names_are_not_taken_for_the_engines():
    source = "class A:\n    def f(self):\n        return self._streams, self._quic.public\n"

    assert list(private_engine_use("sessions/a.py", source, engine_private_names())) == []


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("log.debug('frame')", "logs"),
        ("self._log.info('frame')", "logs"),
        ("print('frame')", "logs"),
        ("yield 1", "waits"),
        ("try:\n            g()\n        except ValueError:\n            pass", "catches"),
        ("with suppress(ValueError):\n            g()", "catches"),
        ("with contextlib.suppress(ValueError):\n            g()", "catches"),
    ],
)
def test_a_hot_function_that_logs_waits_or_catches_is_found(body, what):
    source = f"class A:\n    def feed(self):\n        {body}\n"

    found = list(cold_steps("relay/a.py", source, ["A.feed"]))

    assert len(found) == 1
    assert found[0].endswith(f"A.feed {what}")


def test_a_hot_function_that_became_a_coroutine_is_found():
    source = "async def feed(): ...\n"

    assert list(cold_steps("relay/a.py", source, ["feed"])) == [
        "relay/a.py: feed became a coroutine"
    ]


def test_a_hot_function_that_moved_is_missed():
    assert list(cold_steps("relay/a.py", "def other(): ...\n", ["feed"])) == [
        "relay/a.py: feed is gone; tell HOT where it went"
    ]


def test_a_place_that_isolates_may_catch_and_log_what_it_caught():
    source = (
        "def ring():\n    try:\n        g()\n    except Exception:\n        log.exception('lost')\n"
    )

    assert list(cold_steps("relay/a.py", source, ["ring"], ["relay/a.py:ring"])) == []
    assert len(list(cold_steps("relay/a.py", source, ["ring"]))) == 1


def test_a_finally_without_except_is_no_catch():
    source = "def ring():\n    try:\n        g()\n    finally:\n        h()\n"

    assert list(cold_steps("relay/a.py", source, ["ring"])) == []
