"""What a server answers before there is a connection: other versions, Retry, refusal."""

import time

from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # they forgot to export it
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicHeader,
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.retry import QuicRetryTokenHandler

from moq_relay.transports.quic.connection_ids import new_id
from moq_relay.transports.quic.datagram_io import Address

SMALLEST_INITIAL = 1200
"""A client pads its first datagrams to this, or they are dropped (RFC 9000 section 14.1)."""

VERSIONS: list[int] = [QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2]


def opening(data: bytes, connection_id_bytes: int) -> QuicHeader | None:
    """The header of a datagram that may begin a connection; None for anything else."""
    if len(data) < SMALLEST_INITIAL or not data[0] & 0x80:
        return None
    try:
        header = pull_quic_header(Buffer(data=data), host_cid_length=connection_id_bytes)
    except ValueError:
        return None
    if header.version in VERSIONS and header.packet_type is not QuicPacketType.INITIAL:
        return None
    # Answering a Version Negotiation packet with another would let two servers play for ever.
    return None if header.packet_type is QuicPacketType.VERSION_NEGOTIATION else header


def other_versions(header: QuicHeader) -> bytes | None:
    """The answer to a version that is not spoken here; None when it is."""
    if header.version in VERSIONS:
        return None
    return encode_quic_version_negotiation(
        source_cid=header.destination_cid,
        destination_cid=header.source_cid,
        supported_versions=VERSIONS,
    )


class Retry:
    """Asks clients to prove their address before state is kept for them."""

    def __init__(self) -> None:
        self._tokens = QuicRetryTokenHandler()

    def packet(self, header: QuicHeader, address: Address) -> bytes:
        """The Retry packet that answers ``header``."""
        source = new_id()
        token = self._tokens.create_token(
            address=address,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=source,
            now=time.monotonic(),
        )
        assert header.version is not None
        return encode_quic_retry(
            version=header.version,
            source_cid=source,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )

    def original(self, header: QuicHeader, address: Address) -> bytes | None:
        """The connection id that the client chose at first; None when its token is not good."""
        try:
            return self._tokens.validate_token(
                address=address,
                destination_cid=header.destination_cid,
                token=header.token,
                now=time.monotonic(),
            )
        except ValueError:
            return None


def refusal(header: QuicHeader, code: QuicErrorCode) -> bytes:
    """An Initial packet that ends what ``header`` would begin."""
    assert header.version is not None
    crypto = CryptoPair()
    crypto.setup_initial(cid=header.destination_cid, is_client=False, version=header.version)
    builder = QuicPacketBuilder(
        host_cid=header.destination_cid,
        peer_cid=header.source_cid,
        version=header.version,
        is_client=False,
        max_datagram_size=SMALLEST_INITIAL,
    )
    builder.start_packet(QuicPacketType.INITIAL, crypto)
    frame = builder.start_frame(QuicFrameType.TRANSPORT_CLOSE, capacity=1 + 3 * 8)
    frame.push_uint_var(code)
    frame.push_uint_var(QuicFrameType.PADDING)
    frame.push_uint_var(0)
    datagrams, _ = builder.flush()
    return datagrams[0]
