"""The bench's own reckoning: what a viewer counts, and which rows may be compared."""

import time
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from moq_relay.daemon.load.groups import Groups, GroupStream
from moq_relay.daemon.load.window import Window
from tests.bench.measure import Row
from tests.bench.report import ratios, table, verdicts
from tests.support import lite05
from tests.support.sink import LITE05

FRAMES = [b"x" * size for size in (20, 0, 7, 300, 8)]


def group_bytes(sequence: int) -> bytes:
    frames = (b"\x02" + lite05.varint(len(frame)) + frame for frame in FRAMES)
    return lite05.group_header(1, sequence) + b"".join(frames)


@given(st.lists(st.integers(0, len(group_bytes(70))), max_size=12), st.randoms())
def test_a_group_counts_the_same_however_it_is_cut_and_shuffled(cuts, random) -> None:
    whole = group_bytes(70)
    groups = Groups("video", Window())
    stream = GroupStream({1: groups}, LITE05)
    edges = sorted({0, *cuts, len(whole)})
    pieces = list(pairwise(edges))
    twice = pieces * 2
    random.shuffle(twice)

    done = [stream.take(start, whole, start, stop, fin=stop == len(whole)) for start, stop in twice]

    assert done[-1]
    assert groups.frames == len(FRAMES)
    assert groups.payload_bytes == sum(map(len, FRAMES))
    assert groups.whole == {70}


def test_a_group_that_never_came_between_two_that_did_is_missing() -> None:
    groups = Groups("video", Window())

    for sequence in (4, 6):
        whole = group_bytes(sequence)
        GroupStream({1: groups}, LITE05).take(0, whole, 0, len(whole), fin=True)

    assert groups.report()["missing"] == 1


def test_a_group_that_was_given_up_counts_by_its_plain_code() -> None:
    groups = Groups("video", Window())
    stream = GroupStream({1: groups}, LITE05)
    stream.take(0, group_bytes(4)[:30], 0, 30, fin=False)

    stream.reset(lite05.plain_code(0x52E4A40FA8E0))

    assert groups.report()["resets"] == {"0x5": 1}
    assert groups.report()["groups"] == 0


def test_a_window_counts_frames_by_when_they_were_published() -> None:
    second = 1_000_000_000
    now = time.monotonic_ns()
    window = Window()
    window.schedule(now - 2 * second, now - second)

    for published in (now - 3 * second, now - 2 * second, now - second - 1, now - second):
        window.seen("video", published, 100)

    assert window.report()["frames"] == {"video": 2}
    assert window.report()["payload_bytes"] == 200


def row(
    peer: str, viewers: int, cost: float, *, refused: str | None = None, p99: float | None = None
) -> Row:
    return Row(peer, viewers, 1, refused, cpu_per_gb=cost, p50_ms=1.0, p99_ms=p99, delivered=1.0)


def compared(rows: Sequence[Row]) -> str:
    return ratios(rows) + verdicts(rows)


def test_a_refused_row_is_shown_and_never_compared() -> None:
    rows = [
        row("ours", 12, 50.0),
        row("naive-asyncio", 12, 10.0, refused="only 50.0% delivered"),
        row("naive-uvloop", 12, 100.0),
    ]

    shown, judged = table(rows), compared(rows)

    assert "refused: only 50.0% delivered" in shown
    assert "naive-asyncio" not in judged
    assert "0.50 of naive-uvloop" in judged


def test_a_relay_that_was_complete_by_luck_is_not_compared() -> None:
    rows = [row("ours", 80, 40.0), row("naive-uvloop", 80, 40.0)]
    rows += [row("naive-uvloop", 80, 90.0, refused="only 58.0% delivered") for _ in range(2)]

    judged = compared(rows)

    assert "naive-uvloop" not in judged


def test_a_missed_goal_is_called_missed() -> None:
    rows = [row("ours", 12, 90.0), row("naive-asyncio", 12, 100.0)]

    judged = verdicts(rows)

    assert "naive-asyncio: 0.90, goal at most 0.65: MISSED" in judged


def test_scraping_may_cost_a_viewers_p99_so_much_and_no_more() -> None:
    rows = [row("ours", 40, 30.0, p99=p99) for p99 in (5.0, 6.0, 50.0)]

    cheap = verdicts([*rows, row("ours-scraped", 40, 30.0, p99=7.5)])
    dear = verdicts([*rows, row("ours-scraped", 40, 30.0, p99=8.5)])

    assert "p99 ms more at 40 while scraped: 1.50, goal at most 2: met" in cheap
    assert "p99 ms more at 40 while scraped: 2.50, goal at most 2: MISSED" in dear
    assert "scraped" not in verdicts(rows)
