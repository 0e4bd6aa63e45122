"""Each import contract of pyproject.toml, seen to fail on a copy of the package that breaks it."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = [
    contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
]

BREACHES = [
    ("The floors", "wire/__init__.py", "import moq_relay.relay"),
    ("The floors", "relay/__init__.py", "import moq_relay.wire"),
    ("The floors", "relay/__init__.py", "import moq_relay.sessions"),
    ("The floors", "sessions/__init__.py", "import moq_relay.transports"),
    ("The floors", "transports/__init__.py", "import moq_relay.daemon"),
    ("The floors", "errors.py", "import moq_relay.wire"),
    ("The floors", "extra.py", "import moq_relay.wire"),
    ("Codec, model and sessions know no outside world", "sessions/__init__.py", "import socket"),
    ("The codec knows no time and no tasks", "wire/__init__.py", "import asyncio"),
    ("Only one package knows the QUIC engine", "daemon/__init__.py", "import aioquic"),
    ("Only the daemon knows settings and HTTP", "transports/__init__.py", "import aiohttp"),
    ("The floors", "transports/__init__.py", "import moq_relay.cluster"),
    ("The floors", "cluster/__init__.py", "import moq_relay.daemon"),
    ("Only one package knows the QUIC engine", "cluster/__init__.py", "import aioquic"),
    ("Only the daemon knows settings and HTTP", "cluster/__init__.py", "import aiohttp"),
    ("The rooms of the daemon", "daemon/config/__init__.py", "import moq_relay.daemon.web"),
    ("The rooms of the daemon", "daemon/metrics/__init__.py", "import moq_relay.daemon.node"),
    ("Only one module knows Redis", "cluster/registry.py", "import redis"),
    ("Only one module knows Redis", "daemon/__init__.py", "import redis"),
]


def lint_imports(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


def copy_package(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(ROOT / "moq_relay", tmp_path / "moq_relay", ignore=ignored))


@pytest.mark.parametrize(("contract", "file", "line"), BREACHES)
def test_a_breach_of_a_contract_is_found(tmp_path, contract, file, line):
    package = copy_package(tmp_path)
    with (package / file).open("a") as source:
        source.write(f"\n{line}\n")

    done = lint_imports(tmp_path)

    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{contract} BROKEN" in done.stdout


def test_every_contract_has_a_breach():
    assert {contract for contract, _, _ in BREACHES} == set(CONTRACTS)


def test_the_package_itself_keeps_every_contract(tmp_path):
    copy_package(tmp_path)

    done = lint_imports(tmp_path)

    assert f"{len(CONTRACTS)} kept, 0 broken" in done.stdout
