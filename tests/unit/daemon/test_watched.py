"""Files that are replaced: every way of it is noticed, and what cannot be used changes nothing."""

import logging
import os
from collections import Counter

import pytest

from moq_relay.daemon.watched import SETTLE_SECONDS, Watched
from moq_relay.errors import ConfigError
from tests.support.pair_of_files import PairOfFiles


class World:
    """A pair of files that have to hold the same word, watched by a clock that the test turns."""

    def __init__(self, directory):
        self.files = PairOfFiles(directory)
        self.now = 0.0
        self.taken = []
        self.counted = Counter()
        self.files.write("one", "one")

    def watch(self, *files):
        self._watched = Watched("pair", files, self._load, self.counted, clock=lambda: self.now)

    @property
    def refused(self):
        return self._watched.refused

    def turn(self, seconds=1.0):
        self.now += seconds
        self._watched.turn()

    def _load(self):
        try:
            words = {path.read_text() for path in self.files}
        except OSError as error:
            raise ConfigError("one is missing") from error
        if len(words) != 1:
            raise ConfigError("they do not fit")
        self.taken.extend(words)
        return "fine"


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.watch(*world.files)
    return world


def test_nothing_is_read_while_nothing_changes(world):
    world.turn()
    world.turn(60)

    assert (world.taken, world.counted) == ([], {})


@pytest.mark.parametrize("way", ["write", "rename", "certbot", "kubernetes"])
def test_new_files_are_taken_once_whatever_way_they_came(tmp_path, way):
    world = World(tmp_path)
    world.files.prepare(way)
    world.watch(*world.files)

    getattr(world.files, way)("two", "two")
    for _ in range(3):
        world.turn()

    assert world.taken == ["two"]
    assert world.counted == {"taken": 1}


def test_a_file_that_came_before_its_other_half_is_waited_for_in_silence(world, caplog):
    caplog.set_level(logging.INFO)

    world.files.write("two", "one")
    world.turn(SETTLE_SECONDS - 2)
    world.turn(1)
    world.files.write("two", "two")
    world.turn(1)

    assert world.taken == ["two"]
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert world.counted == {"taken": 1}


def test_files_that_cannot_be_used_are_told_once_and_change_nothing(world, caplog):
    world.files.write("two", "three")
    for _ in range(20):
        world.turn()

    assert world.taken == []
    assert world.counted == {"refused": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "new files refused, the old ones stay name=pair reason=they do not fit"
    ]


def test_files_are_refused_from_when_that_is_told_until_others_are_taken(world):
    refused = []
    for seconds in (1, SETTLE_SECONDS):
        world.files.write("two", "three")
        world.turn()
        world.turn(seconds)
        refused.append(world.refused)
    # Others that cannot be used either.
    world.files.write("two", "four")
    world.turn()
    refused.append(world.refused)
    world.files.write("four", "four")
    world.turn()
    refused.append(world.refused)

    assert refused == [False, True, True, False]


def test_files_that_are_gone_are_told_and_taken_when_they_are_back(world, caplog):
    for path in world.files:
        path.unlink()
    world.turn()
    world.turn(SETTLE_SECONDS)
    assert "one is missing" in caplog.text

    world.files.write("two", "two")
    world.turn()

    assert world.taken == ["two"]
    assert world.counted == {"refused": 1, "taken": 1}


def test_what_becomes_good_by_itself_is_taken(world):
    """As a certificate that was not valid yet does."""
    good = []
    world._load = lambda: good.append(1)
    world.files.write("two", "three")
    world.turn(SETTLE_SECONDS + 1)
    path = next(iter(world.files))
    stat = path.stat()
    path.write_text("three")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    world.turn()

    assert world.counted["taken"] == 1


def test_a_change_in_the_middle_of_reading_is_looked_at_again(tmp_path):
    world = World(tmp_path)
    first, second = world.files

    def meddle():
        world.taken.append(first.read_text())
        if len(world.taken) == 1:
            second.write_text("four")
        return "fine"

    world._load = meddle
    world.watch(*world.files)
    world.files.write("two", "two")

    world.turn()
    assert world.counted == {}
    world.turn()
    world.turn()

    assert world.counted == {"taken": 1}
    assert len(world.taken) == 2
