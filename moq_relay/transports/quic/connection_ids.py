"""Connection ids that the kernel can tell from others, so that it sorts what comes by them.

Four bytes of an id are random, and the next four follow from them by a key of this process, in
steps that the kernel's filters know. It is no cryptography: who has seen a few ids may make more.
All they gain is that what they send is looked at beside what is for connections. The rest is
random, too: of four bytes alone, two of ten thousand connections would have the same.
"""

import os
import secrets

ID_BYTES = 12
"""Length of the ids that we hand out; those of a client's first packets may be longer."""

ROUNDS = 3
_WORD = 4
_MASK = 0xFFFFFFFF
_SHIFT = 15

KEYS: tuple[tuple[int, int], ...] = tuple(
    (secrets.randbits(32), secrets.randbits(32) | 1) for _ in range(ROUNDS)
)
"""What each round adds, and multiplies by; anew for every process."""

LD_W_ABS, LD_B_ABS, LDX_MEM, LD_MEM = 0x20, 0x30, 0x61, 0x60
ST, TAX, TXA = 0x02, 0x07, 0x87
ADD_K, MUL_K, RSH_K, AND_K, XOR_X = 0x04, 0x24, 0x74, 0x54, 0xAC
JEQ_K, JEQ_X, RET_K = 0x15, 0x1D, 0x06
"""Instructions of classic BPF (linux/filter.h)."""

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""


def new_id() -> bytes:
    """One that `is_ours`."""
    random = os.urandom(ID_BYTES - _WORD)
    first, rest = random[:_WORD], random[_WORD:]
    return first + _mix(int.from_bytes(first, "big")).to_bytes(_WORD, "big") + rest


def is_ours(connection_id: bytes) -> bool:
    """Whether it may have been handed out by this process."""
    if len(connection_id) != ID_BYTES:
        return False
    first, second = connection_id[:_WORD], connection_id[_WORD : 2 * _WORD]
    return _mix(int.from_bytes(first, "big")) == int.from_bytes(second, "big")


def _mix(value: int) -> int:
    for add, multiply in KEYS:
        value = (value + add) * multiply & _MASK
        value ^= value >> _SHIFT
    return value


def sorting(strangers: int, ours: int) -> list[Instruction]:
    """A program that says which of two numbers a datagram is for: ``ours`` if its id `is_ours`.

    The id is at 1 in a short header, and at 6 in a long one if it has our length. What is too short
    for an id is 0 by the rules of BPF, so that ``strangers`` has to be.
    """
    assert strangers == 0, "a load beyond the end answers 0"
    long = [*_judge(6, strangers, ours)]
    short = [*_judge(1, strangers, ours)]
    return [
        (LD_B_ABS, 0, 0, 0),
        (AND_K, 0, 0, 0x80),
        (JEQ_K, 0, 3 + len(long), 0x80),
        (LD_B_ABS, 0, 0, 5),
        (JEQ_K, 1, 0, ID_BYTES),
        (RET_K, 0, 0, strangers),
        *long,
        *short,
    ]


def _judge(at: int, strangers: int, ours: int) -> list[Instruction]:
    """Compare both words of the id at ``at``."""
    program: list[Instruction] = [(LD_W_ABS, 0, 0, at)]
    for add, multiply in KEYS:
        program += [
            (ADD_K, 0, 0, add),
            (MUL_K, 0, 0, multiply),
            (TAX, 0, 0, 0),
            (RSH_K, 0, 0, _SHIFT),
            (XOR_X, 0, 0, 0),
        ]
    # X is lost in each round, so that the result goes there last.
    program += [
        (TAX, 0, 0, 0),
        (LD_W_ABS, 0, 0, at + _WORD),
        (JEQ_X, 0, 1, 0),
        (RET_K, 0, 0, ours),
        (RET_K, 0, 0, strangers),
    ]
    return program
