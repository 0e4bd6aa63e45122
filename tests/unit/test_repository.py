"""What the repository promises beside its code: locks, targets, and what is said when one fails."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

from moq_relay.daemon.config.sources import load, read_file

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
NPM_LOCK = ROOT / "tests/interop/browser/package-lock.json"


def locked() -> dict[str, tuple[Requirement, list[str]]]:
    """Name -> what the lock installs, and its hashes."""
    entries = {}
    for entry in (
        re.sub(r"^ *#.*\n", "", LOCK, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    ):
        requirement, *hashes = entry.split(" --hash=")
        parsed = Requirement(requirement)
        entries[parsed.name] = (parsed, [value.strip() for value in hashes])
    return entries


# --- locks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", [LOCK, NPM_LOCK.read_text()], ids=["requirements", "npm"])
def test_a_lock_holds_no_address(lock):
    assert "://" not in lock


def test_every_locked_package_has_one_exact_version_and_sha256_hashes():
    for requirement, hashes in locked().values():
        assert [s.operator for s in requirement.specifier] == ["=="], requirement
        assert hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes), requirement


def test_the_lock_has_whatever_the_project_asks_for():
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]

    for text in wanted:
        requirement = Requirement(text)
        pinned, _ = locked()[requirement.name]
        (version,) = pinned.specifier
        assert requirement.specifier.contains(version.version), f"{text}: run tools/lock"


def test_the_build_backend_is_locked_because_the_package_is_installed_without_isolation():
    assert {*PROJECT["build-system"]["requires"], "editables"} <= locked().keys()


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_lock_installs_the_same_on_every_supported_python_and_machine(python, machine):
    environment = {"python_version": python, "python_full_version": f"{python}.0"} | {
        "platform_machine": machine,
        "sys_platform": "linux",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }

    left_out = {
        name
        for name, (requirement, _) in locked().items()
        if requirement.marker and not Marker(str(requirement.marker)).evaluate(environment)
    }

    # Windows' own, and what the first three releases of 3.11 lack.
    assert left_out - {"async-timeout"} == {"colorama", "pywin32"}


def test_npm_packages_are_pinned_exactly_and_by_hash():
    lock = json.loads(NPM_LOCK.read_text())
    asked = json.loads((NPM_LOCK.parent / "package.json").read_text())

    for version in (asked["dependencies"] | asked["devDependencies"]).values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    for name, entry in lock["packages"].items():
        assert not name or entry["integrity"].startswith("sha512-")


# --- the environment that `make run` and `make test` set up ---------------------------------------


def fake_python(directory: Path, **answers: str) -> Path:
    """An interpreter that runs the fake ``case`` branches; anything else succeeds in silence."""
    branches = "".join(f"  *{text}*) {then} ;;\n" for text, then in answers.items())
    path = directory / "python3.99"
    path.write_text(f'#!/bin/sh\ncase "$*" in\n{branches}esac\n')
    path.chmod(0o755)
    return path


def make_venv(tmp_path: Path, python: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "tools/venv"],
        env=os.environ | {"PYTHON": str(python), "VENV": str(tmp_path / "venv")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_missing_python3_venv_is_named_in_one_line(tmp_path):
    python = fake_python(tmp_path, ensurepip="exit 1")

    done = make_venv(tmp_path, python)

    assert done.returncode == 1
    assert done.stderr == (
        f"moq-relay: {python} cannot make a virtual environment;"
        " on Debian: apt install python3-venv\n"
    )
    assert not (tmp_path / "venv").exists()


def test_a_python_that_is_too_old_is_named_in_one_line(tmp_path):
    python = fake_python(tmp_path, version_info="exit 1", python_version="echo 3.10.13")

    done = make_venv(tmp_path, python)

    assert done.returncode == 1
    assert done.stderr == (
        "moq-relay: Python 3.11 or newer is needed and the newest here is 3.10.13;"
        " set PYTHON=/path/to/python3.11\n"
    )


def test_a_shim_that_fails_is_passed_over(tmp_path):
    (tmp_path / "shim").write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    (tmp_path / "shim").chmod(0o755)
    python = fake_python(tmp_path, venv=f"mkdir -p {tmp_path}/reached; exit 1")

    make_venv(tmp_path, f"{tmp_path}/shim {python}")

    assert (tmp_path / "reached").exists()


# --- a skip that fails ----------------------------------------------------------------------------

SKIPS = """
import pytest

def test_passes():
    pass

def test_is_skipped():
    pytest.skip("chromium is missing")

@pytest.mark.xfail
def test_is_known_to_fail():
    assert False
"""


def run_pytest(
    tmp_path: Path, source: str, *arguments: str, require_all: str
) -> subprocess.CompletedProcess[str]:
    """The suite's own conftest and settings over one file of tests."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (tmp_path / "test_sample.py").write_text(source)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments, "test_sample.py"],
        cwd=tmp_path,
        env=environment | {"REQUIRE_ALL": require_all},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_skip_is_named_at_the_end_and_passes_without_require_all(tmp_path):
    done = run_pytest(tmp_path, SKIPS, require_all="")

    assert done.returncode == 0, done.stdout
    assert "1 not run: chromium is missing" in done.stdout


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_a_skip_fails_the_run_with_require_all(tmp_path, workers):
    done = run_pytest(tmp_path, SKIPS, *workers, require_all="1")

    assert done.returncode == 1, done.stdout
    assert "REQUIRE_ALL is set, yet skipped: Skipped: chromium is missing" in done.stdout
    assert "1 failed, 1 passed, 1 xfailed" in done.stdout


def test_a_module_that_is_skipped_whole_fails_the_run_with_require_all(tmp_path):
    done = run_pytest(
        tmp_path, "import pytest\npytest.importorskip('no_such_module')\n", require_all="1"
    )

    assert done.returncode != 0
    assert "REQUIRE_ALL is set, yet skipped" in done.stdout


ALONE = """
import time
from pathlib import Path
import pytest

def stay(name):
    began = time.monotonic()
    time.sleep(0.05)
    Path(f"{name}.ran").write_text(f"{began} {time.monotonic()}")

@pytest.mark.parametrize("n", range(6))
def test_in_company(n):
    stay(f"company-{n}")

@pytest.mark.alone
@pytest.mark.parametrize("n", range(2))
def test_alone(n):
    stay(f"alone-{n}")
"""


def test_nothing_runs_beside_a_test_that_is_marked_alone(tmp_path):
    done = run_pytest(tmp_path, ALONE, "-n", "2", require_all="")

    assert "8 passed" in done.stdout
    spans = {f.stem: tuple(map(float, f.read_text().split())) for f in tmp_path.glob("*.ran")}
    for name, (began, ended) in spans.items():
        for other, (other_began, other_ended) in spans.items():
            if name.startswith("alone") and other != name:
                assert other_ended <= began or ended <= other_began, (name, other)


# --- documents ------------------------------------------------------------------------------------


def test_the_glossary_holds_only_words_that_the_code_uses():
    rows = re.findall(r"^\| \*\*(.+?)\*\*", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    source = "\n".join(file.read_text() for file in (ROOT / "moq_relay").rglob("*.py")).lower()

    words = [word for row in rows for word in row.split(" / ")]

    assert len(words) > 30
    assert [word for word in words if word not in source] == []


LINK = re.compile(r"\]\((?!\w+://|#)([^)#]+)")


@pytest.mark.parametrize(
    "document", [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], ids=lambda file: file.name
)
def test_every_link_between_documents_leads_somewhere(document):
    links = LINK.findall(document.read_text())

    assert [link for link in links if not (document.parent / link).exists()] == []


TOML = re.compile(r"^```toml\n(# \S+\.toml\n.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "document", [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")], ids=lambda file: file.name
)
def test_every_file_of_settings_in_a_document_is_one_that_the_relay_takes(document, tmp_path):
    for text in TOML.findall(document.read_text()):
        (tmp_path / "relay.toml").write_text(text)

        load([read_file(tmp_path / "relay.toml")])


HELD_BY = re.compile(r"\[([^\]]+)\]\(\.\./(tests/\S+\.py)\)")


def test_every_test_that_the_threats_are_held_by_is_there():
    text = (ROOT / "docs/security.md").read_text()
    named = {(file, "test_" + re.sub(r"\s", "_", name)) for name, file in HELD_BY.findall(text)}
    there = {
        (file, found)
        for file in {file for file, _ in named}
        for found in re.findall(
            r"^(?:async )?def (test_\w+)", (ROOT / file).read_text(), re.MULTILINE
        )
    }

    assert len(named) > 150
    assert named - there == set()

    # And every threat has one, but for the one that nothing holds.
    tables = text[text.index("## Anybody on the network") : text.index("## Secrets")]
    rows = [line for line in tables.splitlines() if re.match(r"\| (?!what |---)", line)]
    assert len(rows) > 50
    (allowed,) = (row for row in rows if not HELD_BY.search(row))
    assert "nothing: whoever reaches the port may read" in allowed
