"""Which branches of some functions were taken, told by the interpreter itself.

A branch is one of the two ways out of a conditional jump of the bytecode, so that what is counted
is every `if`, `while`, `and`, comprehension and match of the source, and needs no other tool.
"""

import dis
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from types import CodeType, FrameType, FunctionType
from typing import Any

Branch = tuple[CodeType, int, bool]
"""A function, the offset of a jump in it, and whether it jumped."""


class Branches:
    """All branches of some functions and of what is defined inside them, and those taken so far."""

    def __init__(self, functions: Iterable[Callable[..., Any]]) -> None:
        self.taken: set[Branch] = set()
        self._jumps: dict[CodeType, dict[int, int]] = {}
        """By function: the offset of each conditional jump, and of what follows it."""
        for function in functions:
            for code in _codes(_code(function)):
                self._jumps[code] = dict(_conditional(code))
        self._at: dict[FrameType, int] = {}

    @property
    def all(self) -> set[Branch]:
        """Every branch that there is."""
        return {
            (code, offset, jumped)
            for code, jumps in self._jumps.items()
            for offset in jumps
            for jumped in (False, True)
        }

    @property
    def share(self) -> float:
        """Of all branches, those taken."""
        return len(self.taken) / len(self.all) if self.all else 1.0

    def missing(self) -> list[str]:
        """Where branches were not taken, for people."""
        found = set()
        for code, offset, jumped in self.all - self.taken:
            line = next(
                (
                    i.positions.lineno
                    for i in dis.get_instructions(code)
                    if i.offset == offset and i.positions
                ),
                0,
            )
            found.add(f"{code.co_qualname}:{line} {'jumps' if jumped else 'goes on'}")
        return sorted(found)

    def watch(self, call: Callable[[], None]) -> bool:
        """Run ``call``; whether it took a branch that was not taken before.

        Of a function's first run Python 3.13 tells nothing.

        Raises:
            Exception: what ``call`` raises.
        """
        before = len(self.taken)
        self._at.clear()
        previous = sys.gettrace()
        sys.settrace(self._enter)
        try:
            call()
        finally:
            sys.settrace(previous)
        return len(self.taken) > before

    def _enter(self, frame: FrameType, event: str, _arg: Any) -> Any:
        if frame.f_code not in self._jumps:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, frame: FrameType, event: str, _arg: Any) -> Any:
        code, now = frame.f_code, frame.f_lasti
        before = self._at.pop(frame, None)
        if event == "opcode":
            if before is not None:
                self.taken.add((code, before, now != self._jumps[code][before]))
            if now in self._jumps[code]:
                self._at[frame] = now
        return self._step


def _code(function: Any) -> CodeType:
    while not isinstance(function, FunctionType):
        function = function.fget if isinstance(function, property) else function.__func__
    return function.__code__


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _conditional(code: CodeType) -> Iterator[tuple[int, int]]:
    begins: int | None = None
    before = ""
    for one, after in pairwise(dis.get_instructions(code)):
        name = one.opname
        begins = one.offset if begins is None else begins
        if name == "EXTENDED_ARG":
            # A prefix: the interpreter stops there, and not at what follows.
            continue
        jumps = ("JUMP" in name and ("IF" in name or "OR_POP" in name)) or name == "FOR_ITER"
        # Whether an exception is the one that is caught, and what must not be, have one way.
        certain = before == "CHECK_EXC_MATCH" or after.opname == "LOAD_ASSERTION_ERROR"
        if jumps and not certain:
            yield begins, after.offset
        before, begins = name, None
