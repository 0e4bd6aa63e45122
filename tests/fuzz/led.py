"""One parser under libFuzzer, by atheris: ``python -m tests.fuzz.led NAME CORPUS [OPTION …]``.

In a process of its own, because libFuzzer ends the one that it runs in. It mutates what took a new
edge of the parser's bytecode, and knows what is compared with what. Its options are its own; the
cases that it kept are in CORPUS afterwards.
"""

import sys
import time

import atheris

TELL_SECONDS = 30.0


def main(name: str, *arguments: str) -> None:
    with atheris.instrument_imports(include=["moq_relay"], enable_loader_override=False):
        from tests.fuzz.targets import TARGETS

    target = next(target for target in TARGETS if target.name == name)
    count, told = 0, time.monotonic()

    def one(data: bytes) -> None:
        nonlocal count, told
        count += 1
        if count % 1000 == 0 and time.monotonic() - told > TELL_SECONDS:
            told = time.monotonic()
            print(f"  {name}: {count} cases", flush=True)
        target.call(data)

    atheris.Setup([name, *arguments], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
