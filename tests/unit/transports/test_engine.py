"""The files that know aioquic's inside: what they rely on is really there."""

import ast
import inspect
import types
from pathlib import Path

import pytest
from aioquic._crypto import AEAD, HeaderProtection
from aioquic.h3.connection import H3Connection
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection, QuicNetworkPath
from aioquic.quic.crypto import CryptoContext, CryptoPair
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.quic.recovery import QuicPacketRecovery, QuicPacketSpace
from aioquic.quic.stream import QuicStream, QuicStreamReceiver, QuicStreamSender

from moq_relay.transports.quic import engine, named, steady, tap
from moq_relay.transports.quic.connection_ids import ID_BYTES, is_ours


def instances():
    configuration = QuicConfiguration(alpn_protocols=["h3"])
    quic = QuicConnection(configuration=configuration)
    stream = QuicStream(0)
    pair = CryptoPair()
    pair.setup_initial(bytes(8), is_client=True, version=QuicProtocolVersion.VERSION_1)
    return {
        QuicConnection: quic,
        QuicPacketRecovery: quic._loss,
        QuicPacketSpace: QuicPacketSpace(),
        QuicStream: stream,
        QuicStreamReceiver: stream.receiver,
        QuicStreamSender: stream.sender,
        H3Connection: H3Connection(engine.Engine(configuration, streams=8)),
        QuicNetworkPath: QuicNetworkPath("127.0.0.1"),
        CryptoPair: pair,
        CryptoContext: pair.send,
        AEAD: pair.send.aead,
        HeaderProtection: pair.send.hp,
    }


@pytest.mark.parametrize(
    ("owner", "name", "kind"),
    [
        (owner, name, kind)
        for module in (engine, named, steady, tap)
        for owner, names in module.PRIVATE.items()
        for name, kind in names.items()
    ],
)
def test_a_name_of_aioquic_that_is_relied_on_is_there(owner, name, kind):
    value = getattr(instances()[owner], name)

    if kind is None:
        assert value is None
    elif kind is types.FunctionType:
        assert inspect.ismethod(value)
    else:
        assert isinstance(value, kind)


@pytest.mark.parametrize(
    "module", [engine, named, steady, tap], ids=["engine", "named", "steady", "tap"]
)
def test_the_list_of_private_names_is_complete(module):
    source = Path(module.__file__).read_text()
    own = {
        name
        for kind in (engine.Engine, steady.SteadyConnection, tap.Tap)
        for name in vars(kind)
        if name.startswith("_") and name not in vars(QuicConnection)
    } | {"_had_backed_off", "_queued_limit", "_retransmit"}
    used = {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and node.attr[1] != "_"
    }

    listed = {name for names in module.PRIVATE.values() for name in names}

    assert used - own <= listed


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_get_or_create_stream_for_send", ["stream_id"]),
        ("_initialize", ["peer_cid"]),
        ("_payload_received", ["context", "plain", "crypto_frame_required"]),
        ("_replenish_connection_ids", []),
        ("_unblock_streams", ["is_unidirectional"]),
        ("_write_application", ["builder", "network_path", "now"]),
        ("_write_connection_limits", ["builder", "space"]),
        ("get_timer", []),
        ("handle_timer", ["now"]),
        ("receive_datagram", ["data", "addr", "now"]),
        ("reset_stream", ["stream_id", "error_code"]),
        ("stop_stream", ["stream_id", "error_code"]),
        ("send_stream_data", ["stream_id", "data", "end_stream"]),
        ("send_datagram_frame", ["data"]),
    ],
)
def test_a_method_that_is_overridden_still_takes_the_same(name, parameters):
    for owner in (QuicConnection, engine.Engine):
        assert list(inspect.signature(getattr(owner, name)).parameters)[1:] == parameters


def test_the_datagram_queue_is_bounded_and_drops_the_oldest():
    quic = engine.Engine(QuicConfiguration(), streams=8)

    for n in range(engine.DATAGRAM_QUEUE + 10):
        quic.send_datagram_frame(n.to_bytes(2, "big"))

    assert quic.datagrams_dropped == 10
    assert len(quic._datagrams_pending) == engine.DATAGRAM_QUEUE
    assert quic._datagrams_pending[0] == (10).to_bytes(2, "big")


def test_datagrams_that_a_longer_connection_id_leaves_no_room_for_are_dropped():
    quic = engine.Engine(QuicConfiguration(), streams=8)
    quic._remote_max_datagram_frame_size = 65536
    largest = quic.datagram_limit
    quic.send_datagram_frame(bytes(largest))
    quic.send_datagram_frame(b"small")
    quic._peer_cid.cid = bytes(20)

    quic._drop_oversized()

    assert quic.datagram_limit == largest - (20 - ID_BYTES)
    assert list(quic._datagrams_pending) == [b"small"]
    assert quic.datagrams_dropped == 1


def test_every_id_that_is_handed_out_is_one_that_the_kernel_knows():
    quic = engine.Engine(QuicConfiguration(), streams=8)
    quic._remote_active_connection_id_limit = 8

    quic._replenish_connection_ids()
    handed_out = [one.cid for one in quic._host_cids]
    # When one of them was lost and is sent again
    quic._host_cids[3].was_sent = False
    quic._replenish_connection_ids()

    assert handed_out[0] == quic.host_cid == quic._local_initial_source_connection_id
    assert len(set(handed_out)) == 8
    assert all(map(is_ours, handed_out))
    assert [one.cid for one in quic._host_cids] == handed_out
