"""What the floods are made of, recorded before they begin."""

import os
from random import Random

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicPacketType, QuicProtocolVersion
from aioquic.quic.packet_builder import QuicPacketBuilder

from tests.support.rogue import with_token

CLIENT_HELLO = 0x06
"""A CRYPTO frame, of the first bytes."""
SIZE = 1200
TOKENS = (61, 77, 120)
"""Bytes: a token of the relay's for IPv4 has 61 or a few more."""
SIZES = (9, 40, 300, 1200)


def noise(count: int, seed: int) -> list[bytes]:
    """Random bytes, of many sizes; half of them look like a packet of a connection."""
    dice = Random(seed)
    return [dice.randbytes(dice.choice(SIZES)) for _ in range(count)]


def initials(count: int, alpn: str) -> list[bytes]:
    """First datagrams of clients, each with ids and keys of its own; a server can read them."""
    hello, named = _hello(alpn)
    return [_initial(hello, named) for _ in range(count)]


def forged(count: int, alpn: str, seed: int) -> list[bytes]:
    """The same with a Retry token that no relay made."""
    dice = Random(seed)
    return [
        with_token(first, dice.randbytes(dice.choice(TOKENS))) for first in initials(count, alpn)
    ]


def _hello(alpn: str) -> tuple[bytes, bytes]:
    """The TLS message of a client, as its first packet has it, and the client's id within."""
    client = QuicConnection(
        configuration=QuicConfiguration(alpn_protocols=[alpn], server_name="localhost")
    )
    client.connect(("127.0.0.1", 1), now=0.0)
    first = client.datagrams_to_send(now=0.0)[0][0]
    crypto = CryptoPair()
    crypto.setup_initial(
        cid=first[6 : 6 + first[5]], is_client=False, version=QuicProtocolVersion.VERSION_1
    )
    at = 6 + first[5]
    at += 1 + first[at]
    # no token, and a length of two bytes; the padding may come after the packet
    number = at + 1 + 2
    end = number + (int.from_bytes(first[at + 1 : number], "big") & 0x3FFF)
    _, plain, _ = crypto.decrypt_packet(first[:end], number, 0)
    assert plain[0] == CLIENT_HELLO, "a first packet begins with the CRYPTO frame"
    length = int.from_bytes(plain[2:4], "big") & 0x3FFF
    return plain[4 : 4 + length], client.host_cid


def _initial(hello: bytes, named: bytes) -> bytes:
    there, here = os.urandom(8), os.urandom(8)
    hello = hello.replace(named, here)
    crypto = CryptoPair()
    crypto.setup_initial(cid=there, is_client=True, version=QuicProtocolVersion.VERSION_1)
    builder = QuicPacketBuilder(
        host_cid=here,
        peer_cid=there,
        version=QuicProtocolVersion.VERSION_1,
        is_client=True,
        max_datagram_size=SIZE,
    )
    builder.start_packet(QuicPacketType.INITIAL, crypto)
    frame = builder.start_frame(CLIENT_HELLO)
    frame.push_uint_var(0)
    frame.push_uint16(len(hello) | 0x4000)
    frame.push_bytes(hello)
    datagrams, _ = builder.flush()
    assert len(datagrams[0]) >= SIZE, "a first datagram is padded"
    return datagrams[0]
