"""``python -m tests.rights``: every token at every path, by every transport and version, against
an oracle. It takes less than a minute."""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.rights.matrix import Result, everything, place


async def main() -> int:
    """Judge all; the exit code."""
    results, begun = Counter[str](), time.monotonic()
    whole = Result()
    with tempfile.TemporaryDirectory(prefix="rights-") as folder:
        async with place(Path(folder)) as there:
            for way, bearer, path in everything():
                before = whole.cases
                await there.judge(way, bearer, path, whole)
                results[str(way)] += whole.cases - before
    for way, cases in results.items():
        print(f"{way:<28}{cases:>7} cases")
    seconds = time.monotonic() - begun
    print(f"{whole.cases} cases in {seconds:.0f} s, {len(whole.wrong)} wrong")
    for line in whole.wrong[:50]:
        print(line)
    return 1 if whole.wrong else 0


sys.exit(asyncio.run(main()))
