"""A file of lines: whoever has them written never waits, and what nobody will find is counted."""

import errno
import os
import time

import pytest

from moq_relay.daemon.logs import linefile
from moq_relay.daemon.logs.linefile import LineFile

PATIENCE = 10.0


def eventually(condition):
    """Wait for the thread to do it."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_lines_are_appended_in_their_order(tmp_path):
    path = tmp_path / "lines"
    path.write_text("before\n")
    file = LineFile(str(path))

    for number in range(1000):
        file.put(f"line {number} ä")
    file.close()

    assert path.read_text(encoding="utf-8").splitlines() == [
        "before",
        *(f"line {number} ä" for number in range(1000)),
    ]
    assert file.counts() == (1000, 0)


def test_a_new_file_is_nothing_for_the_world_to_read(tmp_path):
    LineFile(str(tmp_path / "lines")).close()

    assert (tmp_path / "lines").stat().st_mode & 0o007 == 0


def test_none_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = LineFile("none")
    file.put("line")
    file.close()

    assert not file.wanted
    assert file.counts() == (0, 0)
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_rotated_away_is_made_anew(tmp_path):
    path = tmp_path / "lines"
    file = LineFile(str(path))
    file.put("first")
    eventually(lambda: file.written == 1)

    path.rename(tmp_path / "lines.1")
    file.put("second")
    file.close()

    assert (tmp_path / "lines.1").read_text() == "first\n"
    assert path.read_text() == "second\n"


@pytest.fixture
def pipe():
    """Both ends of a pipe that holds little and is not read yet."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_a_reader_that_does_not_read_costs_lines_and_no_time(pipe, monkeypatch):
    reading, writing = pipe
    monkeypatch.setattr(linefile, "CLOSE_SECONDS", 0.05)
    file = LineFile("stdout", waiting=10)
    file._fd = writing
    line = "x" * 4095

    for _ in range(100):
        started = time.monotonic()
        file.put(line)
        assert time.monotonic() - started < 1.0
    eventually(lambda: file.lost >= 50)
    started = time.monotonic()
    file.close()
    assert time.monotonic() - started < 1.0

    # Then the thread goes on with what it has once somebody reads.
    while file.written + file.lost < 100:
        os.read(reading, 4096)
    assert file.written > 0


def test_a_descriptor_that_does_not_block_is_waited_for(pipe):
    reading, writing = pipe
    os.set_blocking(writing, False)
    file = LineFile("stdout")
    file._fd = writing
    for _ in range(100):
        file.put("x" * 4095)

    got = b""
    while len(got) < 100 * 4096:
        got += os.read(reading, 1 << 20)
    file.close()

    assert file.counts() == (100, 0)


def test_a_line_that_was_cut_short_does_not_swallow_the_next(tmp_path, monkeypatch):
    path = tmp_path / "lines"
    file = LineFile(str(path))
    written, room = os.write, [8, 2]

    def short(fd, data):
        """A disk that has room for so much at a time, then for nothing, then for all."""
        if not room:
            return written(fd, data)
        if room[0] == 0:
            room.clear()
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = written(fd, bytes(data)[: room[0]])
        room[:] = room[1:] or [0]
        return taken

    monkeypatch.setattr(linefile.os, "write", short)
    file._write([b"first\n", b"second\n", b"third\n"])
    assert file.counts() == (1, 2)
    file._write([b"fourth\n"])

    assert path.read_text() == "first\nseco\nfourth\n"
    assert file.counts() == (2, 2)
