"""Each parser that sees bytes from outside: what it is fed, and what it may raise."""

import base64
import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from moq_relay.cluster import address, records, revocations
from moq_relay.cluster.records import Oddities
from moq_relay.daemon import auth
from moq_relay.daemon.auth import Authority
from moq_relay.daemon.config.values import Public
from moq_relay.daemon.tokens import claims, jwk
from moq_relay.daemon.tokens.claims import Rules
from moq_relay.daemon.tokens.jwk import Key
from moq_relay.errors import ConfigError, FrameTooLarge, Unauthorized, WireError
from moq_relay.relay import path as paths
from moq_relay.relay.access import Access
from moq_relay.transports.quic import capsules, handshake
from moq_relay.transports.quic.capsules import CapsuleReader
from moq_relay.transports.quic.handshake import Retry
from moq_relay.wire import fields, ingested, varint
from moq_relay.wire.layout import Layout
from moq_relay.wire.lite import frames, messages
from moq_relay.wire.lite.frames import FrameDecoder
from moq_relay.wire.lite.versions import VERSIONS
from moq_relay.wire.version import Slot, Version

VECTORS = Path(__file__).parents[1] / "vectors" / "lite.json"
SLOTS = tuple(Slot)
LIMIT = 1 << 16
NOW = 1_800_000_000.0
SECRET = {"kty": "oct", "alg": "HS256", "k": "A" * 43}


@dataclass(frozen=True)
class Target:
    """One parser."""

    name: str
    call: Callable[[bytes], None]
    """Lets nothing out but what is a bug: what the parser may raise is caught inside."""
    corpus: Sequence[bytes]
    """To begin with."""
    functions: Sequence[Any]
    """Whose branches are counted."""


# --- moq-lite -------------------------------------------------------------------------------------


def _messages(data: bytes) -> None:
    if len(data) < 2:
        return
    version = VERSIONS[data[0] % len(VERSIONS)]
    slot, at = SLOTS[data[1] % len(SLOTS)], 2
    try:
        while (found := version.parse(slot, data, at, LIMIT)) is not None:
            message, behind = found
            assert at < behind <= len(data)
            at = behind
            if isinstance(message, messages.Setup):
                _ = message.path, message.role, message.hop, message.cost, message.probe
    except WireError:
        pass


def _vectors() -> list[bytes]:
    found = []
    for vector in json.loads(VECTORS.read_text()):
        number = next(
            (n for n, version in enumerate(VERSIONS) if version.name == vector["version"]), 0
        )
        data = bytes.fromhex(vector["hex"])
        for slot in range(len(SLOTS)):
            # The type of the stream is not the message's.
            found += [bytes((number, slot)) + data, bytes((number, slot)) + data[1:]]
    return found


def _setups() -> list[bytes]:
    number = next(n for n, version in enumerate(VERSIONS) if version.features.setup_stream)
    slot = SLOTS.index(Slot.SETUP)
    parameters = (
        ((1, varint.encode(7)), (3, varint.encode(1)), (4, varint.encode(1 << 30))),
        ((2, b"/a"), (5, b"\x40")),
        ((2, b"\xff"),),
        ((1, b""), (3, b"\x09"), (9, b"unknown")),
    )
    bodies = [
        varint.encode(len(each))
        + b"".join(varint.encode(id_) + varint.encode(len(raw)) + raw for id_, raw in each)
        for each in parameters
    ]
    return [bytes((number, slot)) + varint.encode(len(body)) + body for body in bodies]


TRUNCATED = [bytes((number, slot, 1, 0)) for number in range(5) for slot in range(len(SLOTS))]


def _frames(data: bytes) -> None:
    if not data:
        return
    decoder, cut = FrameDecoder(bool(data[0] & 1), 1000), 1 + (data[0] >> 1)
    rest, held = data[1:], 0
    try:
        for at in range(0, len(rest), cut):
            for timestamp, payload in decoder.feed(rest[at : at + cut]):
                assert timestamp is None or 0 <= timestamp <= frames.MAX_TIMESTAMP
                held += len(payload)
        assert held + decoder.held <= len(rest)
        assert decoder.partial or not decoder.held
    except (WireError, FrameTooLarge):
        pass
    with suppress(WireError):
        frames.decode_datagram(rest)


def _ingested(data: bytes) -> None:
    at = 0
    try:
        while (found := ingested.parse(data, at)) is not None:
            assert at < found[1] <= len(data)
            at = found[1]
    except WireError:
        pass


# --- below moq-lite -------------------------------------------------------------------------------

RETRY = Retry()
HERE = ("192.0.2.1", 4443)


def _initial(version: int | None = None) -> bytes:
    quic = QuicConnection(configuration=QuicConfiguration(alpn_protocols=["h3"]))
    quic.connect(HERE, now=0.0)
    data = quic.datagrams_to_send(now=0.0)[0][0]
    return data if version is None else data[:1] + version.to_bytes(4, "big") + data[5:]


def _with_token(initial: bytes, token: bytes) -> bytes:
    at = 6 + initial[5]
    at += 1 + initial[at]
    return initial[:at] + varint.encode(len(token)) + token + initial[at + 1 :]


def _handshake(data: bytes) -> None:
    header = handshake.opening(data, 8)
    if header is None or handshake.other_versions(header) is not None:
        return
    if header.token:
        assert RETRY.original(header, HERE) is None
    RETRY.packet(header, HERE)
    handshake.refusal(header, 2)  # type: ignore[arg-type]


def _capsules(data: bytes) -> None:
    if not data:
        return
    reader, cut = CapsuleReader(), 1 + data[0]
    rest, whole = data[1:], 0
    for at in range(0, len(rest), cut):
        for _, value in reader.feed(rest[at : at + cut]):
            whole += len(value)
            code, reason = capsules.parse_close(value)
            assert 0 <= code < 1 << 32
            assert len(reason) <= len(value)
    assert whole <= len(rest)
    capsules.offered_protocols([rest[:cut], rest[cut:]])


# --- who may do what ------------------------------------------------------------------------------

KEY = Key.of(SECRET, "key")
HALF = Public(subscribe=("a", "b/c"), publish=("a/b",))


class _Keys:
    """The same keys for every token; None: they have to be looked up."""

    def __init__(self, keys: Sequence[Key] | None) -> None:
        self._keys = keys

    def find(self, _kid: str | None) -> Sequence[Key] | None:
        return self._keys


def _authority(keys: Any = None) -> Authority:
    made = Authority(HALF, challenged="right".__eq__)
    made._keys = keys
    return made


AUTHORITY, UNKNOWN, NO_KEYS = _authority(_Keys([KEY])), _authority(_Keys(None)), _authority()


def _target(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for other in (NO_KEYS, UNKNOWN):
        with suppress(Unauthorized):
            other.authorise(text)
    with suppress(Unauthorized):
        auth.bearer(text or None)
    try:
        access = AUTHORITY.authorise(text)
        assert isinstance(access, Access)
        assert all(paths.covers(access.root, one) for one in (*access.publish, *access.subscribe))
    except Unauthorized:
        pass


def _claims(data: bytes) -> None:
    rules = (Rules(), Rules(issuer="i", audience=("a", "b"), max_lifetime=60.0))
    try:
        said = claims._object(data[1:])
        claims._judge(said, rules[data[:1] > b"\x7f"], NOW)
        told = claims._claims(said, "")
        for one in (*told.publish, *told.subscribe):
            assert paths.covers(told.root, one)
        assert told.expires is None or told.expires >= NOW or math.isinf(told.expires)
    except Unauthorized:
        pass


def _jwk(data: bytes) -> None:
    with suppress(ConfigError):
        Key.of(jwk.parse(data.decode("utf-8", "replace"), "key"), "key")


def jwt_with(**header: object) -> bytes:
    """A token that nobody signed."""
    said = json.dumps({"typ": "JWT", "alg": "HS256", **header}).encode()
    return base64.urlsafe_b64encode(said).rstrip(b"=") + b".e30.AAAA"


def _tokens(data: bytes) -> None:
    token = data.decode("utf-8", "replace")
    try:
        jwk.named_key(token)
        payload = KEY.opened(token)
    except Unauthorized:
        return
    # Some letters of base64 have bits that nobody reads, so the token may be another.
    assert payload in OURS, "forged"


NAMED = Key.of({**SECRET, "kid": "one"}, "key")
SIGNED = KEY.sign(put="a", get=["b"])
WITH_KID = jwt_with(kid="../x")
OURS = {b'{"put":"a","get":["b"]}', b'{"put":""}'}


# --- the registry ---------------------------------------------------------------------------------


def _records(data: bytes) -> None:
    text, odd = data.decode("utf-8", "replace"), Oddities()
    list(records.read_claims("a/b", text, odd))
    records.read_member("https://one.example/", text, odd)
    assert records.decode(records.encode(text)) == text
    taken = revocations.Revocations(lambda: 1e9)
    with suppress(ValueError):
        taken.heard(text.split(" "))
    revocations.are_entries(text.split(" "))


def _nodes(data: bytes) -> None:
    try:
        url = address.node_url(data.decode("utf-8", "replace"))
    except ValueError:
        return
    assert address.node_url(url) == url
    address.host_port(url)


def _parsing(module: Any, *names: str) -> list[Any]:
    return [getattr(module, name) for name in names]


SCOPES = (
    {"root": "a", "put": 5},
    {"root": 5, "put": "a"},
    {"get": ["a", 5]},
    {"get": "a/" * 40},
    {"root": "a"},
    {"more": "a"},
    [],
)
TARGETS = (
    Target(
        "messages",
        _messages,
        [*_vectors(), *_setups(), *TRUNCATED],
        [
            varint.decode,
            Version.parse,
            Layout.decode,
            *_parsing(fields, "_few", "_uint", "_byte", "_sized", "_text"),
            *[messages.Setup.__dict__[name] for name in ("path", "role", "hop", "cost", "probe")],
            messages.Setup._raw,
            messages.Setup._number,
        ],
    ),
    Target(
        "frames",
        _frames,
        [
            b"\x00\x03one\x03two",
            b"\x01\x02\x03one\x03\x03two",
            b"\xff\x40\x80" + bytes(300),
            bytes.fromhex("0100010203"),
            b"\x01\x80\x00\x00",
            b"\x01\x01\x00\x00",
            b"\x00\x7f\xff",
            b"\xff\x41\x00" + bytes(256),
        ],
        [FrameDecoder.feed, FrameDecoder.partial, FrameDecoder.held, frames.decode_datagram],
    ),
    Target(
        "ingested",
        _ingested,
        [ingested.encode(ingested.Ingested(1, 2, 3, 4))],
        [ingested.parse],
    ),
    Target(
        "handshake",
        _handshake,
        [
            *map(_initial, (None, 0x0A0A0A0A, 0, 0x6B3343CF)),
            _with_token(_initial(), bytes(61)),
            b"\xf0" + _initial()[1:],
            b"\x40" + bytes(1300),
        ],
        [handshake.opening, handshake.other_versions, Retry.original],
    ),
    Target(
        "capsules",
        _capsules,
        [
            b"\x08" + capsules.close_capsule(7, "so it is"),
            b"\x30" + varint.encode(1) + varint.encode(20_000) + bytes(300),
            b'\x09"moq-lite-06", "a\\"b", x',
        ],
        [CapsuleReader.feed, capsules.parse_close, capsules.offered_protocols],
    ),
    Target(
        "target",
        _target,
        [
            b"/a/b?jwt=" + SIGNED.encode(),
            b"/a%2Fb//c#x",
            b"/zz",
            b"a//b/",
            b"/" + b"a/" * 40,
            b"\x80/a?jwt=" + SIGNED.encode(),
            b"/?register=https://one.example:4443&jwt=x",
            b"/?challenge=right",
            b"/?challenge=wrong&link",
            b"/%ff?%ff",
            b"Bearer " + SIGNED.encode(),
            b"Basic x",
            *(
                b"/?register=one.example&jwt=" + KEY.sign(**claims).encode()
                for claims in (
                    {"cluster": True, "get": ""},
                    {"cluster": True, "node": "https://one.example/"},
                    {"cluster": True, "node": "two.example"},
                    {"put": ""},
                )
            ),
            b"/a?register=one.example&jwt=" + KEY.sign(cluster=True, node="one.example").encode(),
        ],
        [
            Authority.authorise,
            Authority._rights,
            Authority._grant,
            Authority._names_its_node,
            Authority._may_register,
            auth.bearer,
            *_parsing(auth, "_parameters", "_node", "_root", "_narrowed"),
            *_parsing(paths, "normalise", "covers"),
        ],
    ),
    Target(
        "tokens",
        _tokens,
        [SIGNED.encode(), NAMED.sign(put="").encode(), b"a.b.c", WITH_KID, b"x" * 10_000],
        [jwk.named_key, jwk.usable_kid, Key.opened],
    ),
    Target(
        "claims",
        _claims,
        [
            b"\x00" + json.dumps(claims).encode()
            for claims in (
                {"root": "a/b", "put": ["c", ""], "get": "d", "exp": NOW + 30, "iat": NOW},
                {"root": "", "get": "", "nbf": NOW + 4, "jti": "x", "sub": "y"},
                {"cluster": True, "node": "one.example", "exp": 1},
                {"put": 5},
                {"exp": "x", "root": 4},
                {"nbf": 1e400, "iat": True},
                [],
                {"iat": True},
                {"exp": 10**400},
                {"cluster": 1},
                {"node": 5},
                {"node": "a b"},
                {"cluster": True, "root": "a"},
                {"root": "a/" * 40},
                {"put": ["a", 5]},
                {"jti": 5, "sub": ""},
                {"aud": "x"},
            )
        ]
        + [
            b"\xff" + json.dumps(claims).encode()
            for claims in (
                {"iss": "i", "aud": "a", "exp": NOW + 50, "put": ""},
                {"iss": "i", "aud": ["b"], "iat": NOW, "exp": NOW + 90, "put": ""},
                {"iss": "o", "aud": 3},
                {"iss": "i", "aud": "a", "put": ""},
            )
        ],
        [
            *_parsing(claims, "_object", "_judge", "_moment", "_claims", "digest", "_prefixes"),
        ],
    ),
    Target(
        "jwk",
        _jwk,
        [
            json.dumps(one).encode()
            for one in (
                SECRET,
                {**SECRET, "use": "sig", "key_ops": ["verify"], "kid": "one"},
                {**SECRET, "scope": {"root": "a", "put": ["b"], "get": ""}},
                {**SECRET, "k": "AA"},
                {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43},
                {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43},
                {"kty": "RSA", "n": "A" * 400, "e": "AQAB", "alg": "RS256"},
                {"kty": "oct"},
                [],
                {**SECRET, "use": "enc"},
                {**SECRET, "key_ops": ["sign"]},
                {**SECRET, "key_ops": "verify"},
                {**SECRET, "kid": 5},
                {**SECRET, "alg": "none"},
                *({**SECRET, "scope": scope} for scope in SCOPES),
            )
        ],
        [jwk.base64url, jwk.parse, *_parsing(jwk, "_algorithm", "_may", "_scope", "prefixes")],
    ),
    Target(
        "records",
        _records,
        [
            b"https://one.example/ 3 1800000000000000 1,2,0\nhttps://two.example/ 4 5 -\n\nx y",
            b"https://one.example/ 3 1800000000000000 - more\nhttps://two.example/ 4 5 x",
            *(
                f"7 instance {member.tail()}".encode()
                for member in (
                    records.Member(node="n", generation=7, instance="i"),
                    records.Member(
                        node="n",
                        generation=7,
                        instance="i",
                        region="eu west",
                        state="draining",
                        roles=("root", "direct"),
                        offer=records.Offer(
                            addresses=("192.0.2.1", "2001:db8::1"),
                            coordinates=(50.1, 8.6),
                            load=30,
                        ),
                    ),
                )
            ),
            b"jti:" + b"ab" * 16 + b" 99999999999 1800000000",
            b"sub:" + b"12" * 16 + b" 1800000000 5 sub:" + b"12" * 16 + b" 0 0",
            b"7 i up eu 3 - 1.0 1 x,y 91,0 1000",
            b"7 i up eu 3 - 1.0 1 - 1,2,3 x",
        ],
        [
            *_parsing(records, "read_claims", "read_member", "read_hops", "_place", "_is_address"),
            records.Claim.read,
            records.Member.read,
            records.Offer.read,
            revocations.are_entries,
            revocations._read,
            revocations.Revocations.heard,
        ],
    ),
    Target(
        "nodes",
        _nodes,
        [
            b"https://one.example:4443/",
            b"One.Example.",
            b"[2001:db8::1]:443",
            b"2001:db8::1",
            b"192.0.2.1:4443",
            "bücher.example".encode(),
            b"http://x",
            b"https://u@x/y?z#w",
        ],
        [address.node_url, address.host_port, address._host],
    ),
)
