"""Our handling of packets against aioquic's: the same packets, and a peer that understands all."""

from random import Random

import hypothesis
import hypothesis.strategies as st
import pytest
from aioquic import tls
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from moq_relay.sessions.transport import UNI
from tests.support.quic_link import AWAY, DATAGRAM, DELAY, FAIR, HOME, Link, Weather


def state(quic, now):
    """What sending and receiving leave behind, whoever did it."""
    space, loss = quic._spaces[tls.Epoch.ONE_RTT], quic._loss
    loss._pacer.update_bucket(now)
    kept = {
        quic: (
            "_ack_eliciting_sent_since_receipt",
            "_close_at",
            "_packet_number",
            "_remote_max_data_used",
            "_spin_bit",
            "_spin_highest_pn",
        ),
        space: (
            "ack_at",
            "ack_eliciting_in_flight",
            "expected_packet_number",
            "largest_acked_packet",
            "largest_received_packet",
            "largest_received_time",
            "loss_time",
        ),
        loss: ("_pto_count", "_rtt_latest", "_rtt_min", "_rtt_smoothed", "_rtt_variance"),
        loss._cc: ("bytes_in_flight", "congestion_window", "ssthresh"),
        loss._pacer: ("bucket_time", "packet_time"),
        quic._network_paths[0]: ("bytes_sent",),
    }
    values = {name: getattr(owner, name) for owner, names in kept.items() for name in names}
    values["ack_queue"] = list(space.ack_queue)
    values["received"] = [
        n for n in range(quic._packet_number + 200) if n in space.received_packets
    ]
    return values


def content(stream, start, stop):
    return bytes((stream * 7 + n * 13 + (n >> 8)) & 0xFF for n in range(start, stop))


# --- packet for packet ----------------------------------------------------------------------------


@settings(max_examples=60)
@pytest.mark.parametrize("algorithm", ["reno", "cubic"])
@hypothesis.given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 40_000) | st.integers(0, 300),
            st.sampled_from([0.0, 0.0003, 0.004, 0.05]),
        ),
        min_size=1,
        max_size=12,
    ),
    max_data=st.sampled_from([3000, 20_000, 1 << 20]),
    max_stream_data=st.sampled_from([1000, 20_000, 1 << 20]),
    updates=st.integers(0, 2),
)
def test_one_stream_leaves_in_packets_of_the_same_size_at_the_same_time(
    algorithm, steps, max_data, max_stream_data, updates
):
    logs = []
    for fast in (True, False):
        link = Link(
            fast=fast, max_data=max_data, max_stream_data=max_stream_data, algorithm=algorithm
        )
        for _ in range(updates):
            link.client.request_key_update()
            link.client.send_ping(3)
            link.step()
            link.run(0.1)
        states = []
        stream = link.server.open(unidirectional=True)
        for size, pause in steps:
            link.server.send_slice(stream, bytes(size), 0, size, fin=False)
            link.step()
            states.append(state(link.server, link.now))
            link.run(pause)
        link.server.send_slice(stream, b"", 0, 0, fin=True)
        link.step()
        link.run(30.0, lambda link=link, stream=stream: stream in link.finished)
        assert link.finished == [stream]
        took_part = (link.server.own_packets > 0, link.server.own_acks > 0)
        assert took_part == ((True, True) if fast else (False, False))
        logs.append((link.log, [*states, state(link.server, link.now)]))

    assert logs[0] == logs[1]


# --- a way that is lost and found -----------------------------------------------------------------


@pytest.mark.parametrize("fast", [True, False])
def test_what_was_lost_in_a_long_silence_is_sent_again_as_soon_as_the_peer_is_heard(fast):
    link = Link(fast=fast)
    link.weather = Weather(lose=lambda: True)
    stream = link.server.open(unidirectional=True)
    link.server.send_slice(stream, bytes(20_000), 0, 20_000, fin=True)
    link.step()
    link.run(12.0)

    link.weather = FAIR
    link.client.send_ping(7)
    link.step()
    back = link.now
    link.run(10.0, lambda: stream in link.fins)

    assert link.now - back < 0.5


# --- a window that is far larger than what is sent -----------------------------------------------


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("window", [50_000, 1 << 20, 1 << 30])
def test_a_frame_leaves_at_once_however_large_the_window_has_become(fast, window):
    link = Link(fast=fast)
    link.server._loss._cc.congestion_window = window
    stream = link.server.open(unidirectional=True)

    for _ in range(3):
        link.log.clear()
        link.server.send_slice(stream, bytes(8333), 0, 8333, fin=False)
        link.step()
        left = sum(size for _, size in link.log)
        link.run(0.1)

    assert left > 8333


# --- whatever happens -----------------------------------------------------------------------------


class Conversation(RuleBasedStateMachine):
    """A server that is asked for all it can do, on a bad network; the peer gets what was sent."""

    def __init__(self):
        super().__init__()
        self.link = None
        self.written = {}
        self.ended = set()
        self.given_up = set()
        self.highest = {}
        self.senders = {}
        self.asked = {}
        self.datagrams = set()

    @precondition(lambda self: self.link is None)
    @rule(
        max_data=st.sampled_from([3000, 20_000, 1 << 20]),
        max_stream_data=st.sampled_from([1000, 20_000, 1 << 20]),
        algorithm=st.sampled_from(["reno", "cubic"]),
    )
    def connect(self, max_data, max_stream_data, algorithm):
        self.link = Link(max_data=max_data, max_stream_data=max_stream_data, algorithm=algorithm)
        self.server, self.client = self.link.server, self.link.client
        self.others = self.server._remote_max_data_used

    @property
    def open(self):
        return sorted(set(self.written) - self.ended)

    @precondition(lambda self: self.link)
    @rule(size=st.integers(0, 5000), fin=st.booleans(), wait=st.booleans())
    def start(self, size, fin, wait):
        if not self.server.can_open(unidirectional=True):
            return
        stream = self.server.open(unidirectional=True)
        self.senders[stream] = self.server._streams[stream].sender
        self.written[stream] = 0
        self.put(stream, size, fin, wait)

    @precondition(lambda self: self.link)
    @rule(which=st.integers(0), size=st.integers(0, 20_000), fin=st.booleans(), wait=st.booleans())
    def write(self, which, size, fin, wait):
        if self.open:
            self.put(self.open[which % len(self.open)], size, fin, wait)

    def put(self, stream, size, fin, wait):
        start = self.written[stream]
        shared = b"__" + content(stream, start, start + size) + b"__"
        self.server.send_slice(stream, shared, 2, 2 + size, fin=fin)
        self.written[stream] += size
        if fin:
            self.ended.add(stream)
        if not wait:
            self.link.step()

    @precondition(lambda self: self.link)
    @rule(which=st.integers(0), code=st.integers(0, 1000))
    def reset(self, which, code):
        if not self.open:
            return
        stream = self.open[which % len(self.open)]
        self.server.reset_stream(stream, code)
        self.ended.add(stream)
        self.given_up.add(stream)

    @precondition(lambda self: self.link)
    @rule(which=st.integers(0))
    def stop(self, which):
        known = [s for s in self.client._streams if s & UNI and s in self.written]
        if known:
            stream = known[which % len(known)]
            if not self.client._streams[stream].receiver.is_finished:
                self.client.stop_stream(stream, 5)
                self.given_up.add(stream)
                self.ended.add(stream)
                self.link.step()

    @precondition(lambda self: self.link)
    @rule(size=st.integers(1, 3000))
    def ask(self, size):
        stream = self.client.get_next_available_stream_id()
        if stream // 4 < self.client._remote_max_streams_bidi:
            self.client.send_stream_data(stream, content(stream, 0, size), end_stream=True)
            self.asked[stream] = size
            self.link.step()

    @precondition(lambda self: self.link)
    @rule(size=st.integers(0, 1100))
    def datagram(self, size):
        self.server.send_datagram_frame(bytes(size))

    @precondition(lambda self: self.link)
    @rule()
    def ping(self):
        self.server.send_ping(1)
        self.link.step()

    @property
    def keys_agree(self):
        pairs = [side._cryptos[tls.Epoch.ONE_RTT] for side in (self.server, self.client)]
        phases = {half.key_phase for pair in pairs for half in (pair.recv, pair.send)}
        return len(phases) == 1 and not any(pair._update_key_requested for pair in pairs)

    @precondition(lambda self: self.link)
    @rule(ours=st.booleans())
    def update_keys(self, ours):
        """In fair weather: aioquic forgets old keys so soon that a loss ends the connection."""
        if not self.keys_agree:
            return
        weather, self.link.weather = self.link.weather, FAIR
        side = self.server if ours else self.client
        side.request_key_update()
        side.send_ping(3)
        self.link.step()
        self.link.run(30.0, lambda: self.keys_agree)
        assert self.keys_agree
        self.link.weather = weather

    @precondition(lambda self: self.link)
    @rule(spare=st.booleans())
    def move(self, spare):
        self.link.client_address = AWAY if self.link.client_address == HOME else HOME
        if spare:
            self.client.change_connection_id()
        self.client.send_ping(7)
        self.link.step()

    @precondition(lambda self: self.link)
    @rule(
        every=st.sampled_from([0, 0, 2, 3, 7]),
        jitter=st.sampled_from([0.0, 0.0, 0.005, 0.05]),
        copies=st.sampled_from([1, 1, 2]),
        seed=st.integers(0, 1000),
    )
    def weather(self, every, jitter, copies, seed):
        random = Random(seed)
        self.link.weather = Weather(
            lambda: every > 0 and random.randrange(every) == 0,
            lambda: random.random() * jitter,
            copies,
        )

    @precondition(lambda self: self.link)
    @rule(seconds=st.sampled_from([0.0, 0.001, 0.011, 0.03, 0.3]))
    def wait(self, seconds):
        self.link.step()
        self.link.run(seconds)

    @precondition(lambda self: self.link)
    @rule(seconds=st.sampled_from([0.05, 1.0]))
    def silence(self, seconds):
        weather, self.link.weather = self.link.weather, Weather(lambda: True)
        self.link.step()
        self.link.run(seconds)
        self.link.weather = weather

    @invariant()
    def the_books_are_right(self):
        if self.link is None:
            return
        loss, ledger, server = self.server._loss, self.server.ledger, self.server
        sent = [p for space in server._spaces.values() for p in space.sent_packets.values()]
        assert loss.bytes_in_flight == sum(p.sent_bytes for p in sent if p.in_flight)
        assert server.space.ack_eliciting_in_flight == sum(
            p.is_ack_eliciting for p in server.space.sent_packets.values()
        )
        assert list(server.space.sent_packets) == sorted(server.space.sent_packets)
        assert server._packet_number > max(server.space.sent_packets, default=-1)
        senders = [
            stream.sender
            for stream in server._streams.values()
            if not stream.sender.is_finished and hasattr(stream.sender, "_ledger")
        ]
        whole = [sender for sender in senders if sender._reset_code is None]
        assert ledger.unsent == sum(sender._stop - sender.highest_offset for sender in whole)
        assert set(server._streams_queue) == set(server._streams.values())
        assert len(server._streams_queue) == len(server._streams)
        assert server._remote_max_data_used <= server._remote_max_data
        ours = sum(sender.highest_offset for sender in self.senders.values())
        theirs = server._remote_max_data_used - ours
        assert 0 <= theirs <= sum(self.asked.values()) + self.others
        for stream in server._streams.values():
            if stream.stream_id in self.senders:
                assert stream.sender.highest_offset <= stream.max_stream_data_remote

    def teardown(self):
        if self.link is None:
            return
        link, server = self.link, self.server
        link.weather = FAIR
        for stream in self.open:
            server.send_slice(stream, b"", 0, 0, fin=True)
        link.step()
        whole = set(self.written) - self.given_up
        link.run(
            60.0,
            lambda: (
                whole | set(self.asked) <= link.fins
                and server.ledger.senders == 0
                and not server._streams
            ),
        )

        assert whole <= link.fins
        for stream in whole:
            assert link.received.get(stream, b"") == content(stream, 0, self.written[stream])
        for stream, size in self.asked.items():
            assert link.received[stream] == content(stream, 0, size)
        assert sorted(link.finished) == sorted([*self.written, *self.asked])
        ledger = server.ledger
        assert (ledger.senders, ledger.unsent, ledger.unacknowledged) == (0, 0, 0)
        assert not server._streams
        assert not server._streams_queue
        link.run(50.0, lambda: server._loss.bytes_in_flight == 0)
        assert server._loss.bytes_in_flight == 0
        link.run(0.1)
        assert not ledger.control
        assert not ledger.pending
        # The peer can still open streams: what was closed was given back.
        assert server._local_max_streams_bidi.value == 8 + len(self.asked)


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


# --- case by case ---------------------------------------------------------------------------------


def streams_of(link, count, size):
    """Streams of the server, each with ``size`` bytes that wait, in a link without a window."""
    link.server._loss._cc.congestion_window = 1 << 20
    link.server._loss._pacer.packet_time = None
    streams = [link.server.open(unidirectional=True) for _ in range(count)]
    for stream in streams:
        link.server.send_slice(stream, bytes(size), 0, size, fin=True)
    return streams


@pytest.mark.parametrize("packets", [1, 2, 4, 5])
def test_streams_take_turns_whatever_the_window_lets_pass_at_once(packets):
    link = Link()
    streams = streams_of(link, 3, 30_000)
    senders = [link.server._streams[stream].sender for stream in streams]
    loss = link.server._loss

    for _ in range(24 // packets):
        loss._cc.congestion_window = loss.bytes_in_flight + packets * DATAGRAM
        link.server.transmit(link.now)

    sent = [sender.highest_offset for sender in senders]
    assert link.server.own_packets == 24 // packets * packets
    assert max(sent) - min(sent) <= DATAGRAM


def test_what_the_window_has_no_room_for_leaves_when_an_ack_makes_some():
    link = Link()
    [stream] = streams_of(link, 1, 5000)
    loss = link.server._loss
    loss._cc.congestion_window = 3600 + 30 + 3

    link.step()
    assert [size for _, size in link.log] == [DATAGRAM] * 3
    assert link.server.ledger.pending
    link.run(2 * DELAY + 0.002)

    assert sum(size for _, size in link.log) > 5000
    link.run(0.1)
    assert len(link.received[stream]) == 5000


def test_a_frame_of_another_kind_leaves_when_an_ack_makes_room_for_it():
    link = Link()
    link.server._loss._cc.congestion_window = 3600
    streams_of(link, 1, 3000)
    link.server._loss._cc.congestion_window = sum(size for _, size in link.log) + 2 * DATAGRAM
    link.step()
    given_up = link.server.open(unidirectional=True)
    link.server.send_slice(given_up, b"x", 0, 1, fin=False)
    link.server.reset_stream(given_up, 9)
    link.step()
    assert link.server._streams[given_up].sender.reset_pending

    link.run(4 * DELAY)

    assert link.resets == {given_up: 9}


def test_small_streams_share_a_packet():
    link = Link()

    streams = streams_of(link, 5, 100)
    link.step()

    assert [size for _, size in link.log] == [11 + 16 + 5 * (100 + 4)]
    link.run(1.0)
    assert sorted(link.finished) == streams


def test_packets_are_of_one_size_but_the_last_so_that_one_call_sends_them():
    link = Link()

    streams_of(link, 2, 10_000)
    link.step()

    sizes = [size for _, size in link.log]
    assert len(sizes) == 18
    assert set(sizes[:-1]) == {DATAGRAM}


def test_a_finished_stream_of_ours_makes_no_packet_and_is_gone():
    link = Link()
    streams = streams_of(link, 2, 500)
    link.step()
    packets = len(link.log)

    link.run(0.5)

    assert link.finished == streams
    assert not set(streams) & set(link.server._streams)
    assert len(link.log) == packets
    assert not link.server.wants_to_send(link.now)


UNUSUAL = {
    "a datagram": lambda link: link.server.send_datagram_frame(b"x"),
    "a ping": lambda link: link.server.send_ping(1),
    "a probe": lambda link: link.server._send_probe(),
    "a reset": lambda link: link.server.reset_stream(3 + 4 * 1000, 1),
    "new keys": lambda link: link.server.request_key_update(),
    "another id": lambda link: link.server.change_connection_id(),
    "a close": lambda link: link.server.close(),
    "a challenge": lambda link: link.server._network_paths[0].remote_challenges.append(b"8" * 8),
    "a new path": lambda link: setattr(link.server._network_paths[0], "is_validated", False),
    "a due ACK": lambda link: setattr(link.server.space, "ack_at", link.now + 1),
    "a trace": lambda link: setattr(link.server, "_quic_logger", object()),
    "another cipher": lambda link: setattr(link.server.keys.send.hp, "_is_chacha20", True),
    "no takeover": lambda link: setattr(link.server, "takes_over", False),
}


@pytest.mark.parametrize("what", UNUSUAL)
def test_what_is_unusual_is_left_to_aioquic(what):
    link = Link()
    link.server._get_or_create_stream_for_send(3 + 4 * 1000)
    link.server.ledger.control = False
    assert link.server.steady

    UNUSUAL[what](link)

    assert not link.server.steady


def lone_ack(link):
    """What the client says to a stream's only packet, before it is on its way."""
    streams_of(link, 1, 500)
    link.step()
    link.run(DELAY + 1e-5)
    [(data, _)] = link.client.datagrams_to_send(link.now + 0.01)
    return data


@pytest.mark.parametrize("spoil", ["tag", "number", "phase", "copy", "address", "id", "short"])
def test_what_is_not_plainly_an_ack_is_left_to_aioquic(spoil):
    link = Link()
    data, server, address = lone_ack(link), link.server, HOME
    before = server.own_acks
    match spoil:
        case "tag":
            data = data[:-1] + bytes((data[-1] ^ 1,))
        case "number":
            data = data[:9] + bytes((data[9] ^ 1,)) + data[10:]
        case "phase":
            data = bytes((data[0] ^ 4,)) + data[1:]
        case "copy":
            server.receive_datagram(data, address, link.now)
            before = server.own_acks
        case "address":
            address = AWAY
        case "id":
            data = data[:1] + server._host_cids[1].cid + data[9:]
        case "short":
            data = data[:20]

    server.receive_datagram(data, address, link.now)

    assert server.own_acks == before


def test_an_ack_that_came_alone_is_read_here():
    link = Link()
    data, before = lone_ack(link), link.server.own_acks

    link.server.receive_datagram(data, HOME, link.now)

    assert link.server.own_acks == before + 1
    assert link.server.ledger.unacknowledged == 0


# --- who is called when ---------------------------------------------------------------------------


def test_a_stream_beyond_the_credit_sends_nothing():
    link = Link()
    covered, early = link.server.open(unidirectional=True), 3 + 4 * 1000
    link.server._get_or_create_stream_for_send(early)
    link.step()
    link.run(0.1)
    before = link.server.own_packets

    for stream in (covered, early):
        link.server.send_slice(stream, b"x", 0, 1, fin=True)
    link.step()

    assert link.server.own_packets == before + 1
    assert link.server._streams[covered].sender.highest_offset == 1
    assert link.server._streams[early].sender.highest_offset == 0


def test_nothing_waits_once_all_is_sent():
    link = Link()

    streams_of(link, 2, 3000)
    link.step()

    assert not link.server.wants_to_send(link.now)
    assert link.server._pacing_at is None


def test_a_lost_frame_is_sent_again_although_nothing_else_is():
    link = Link()
    link.weather = Weather(lambda: True)
    link.server.change_connection_id()
    link.server.ledger.control = True
    link.step()
    link.weather = FAIR
    assert 0 in [cid.sequence_number for cid in link.client._host_cids]
    for _ in range(4):
        streams_of(link, 1, 500)
        link.step()

    link.run(3 * DELAY + 0.005)

    assert link.server._loss._pto_count == 0
    assert 0 not in [cid.sequence_number for cid in link.client._host_cids]


def test_an_ack_leaves_with_the_flush_and_not_a_millisecond_later():
    link = Link()
    link.client.send_ping(1)
    link.step()

    link.run(DELAY + 1e-4)

    assert len(link.log) == 1
    assert link.server.space.ack_at is None


@pytest.mark.parametrize("why", ["a gap", "a probe was sent", "an unknown path"])
def test_an_ack_may_bring_a_deadline_nearer(why):
    link = Link()
    data = lone_ack(link)
    assert not link.server.deadline_neared
    match why:
        case "a gap":
            link.server.space.loss_time = link.now + 0.001
        case "a probe was sent":
            link.server._loss._pto_count = 2
            link.server.receive_datagram(data, HOME, link.now)
        case "an unknown path":
            link.server._network_paths[0].is_validated = False

    assert link.server.deadline_neared
    if why == "a probe was sent":
        link.server.get_timer()
        assert not link.server.deadline_neared


def test_a_timer_that_runs_soon_need_not_be_set_anew_after_sending():
    link = Link()
    streams_of(link, 1, 500)
    link.step()
    now, server = link.now, link.server

    assert server.may_wait(now, now + server._loss.max_ack_delay)
    assert server.get_timer() > now + server._loss.max_ack_delay
    assert not server.may_wait(now, now + 0.1)
    server._pacing_at = now + 0.001
    assert not server.may_wait(now, now + 0.001)
