"""Every key and channel of the registry, with its shape.

All keys of a script share a hash tag, ``{m}`` for the membership and ``{oN}`` for shard N, so that
a Redis Cluster would keep them in one slot. With the prefix ``moq``:

    moq:{m}:meta         hash    e epoch, s sequence, r replication id, shards, g:<node> last
                                 generation; t and calm: when reap ran last, and how long calm
    moq:{m}:nodes        hash    node -> generation instance state region hop roles version proto
    moq:{m}:log          stream  id is the sequence, d the lines of the event
    moq:{m}:lease        zset    node -> end of its lease, milliseconds on Redis' clock
    moq:{m}:grave        hash    node -> generation: dead, and not yet dropped from every shard
    moq:{m}:revoked      hash    jti:<hash> or sub:<hash> -> before until; see ``revocations``
    moq:{m}:feed         channel epoch sequence lines

    moq:{oN}:meta        hash    e, s, r as above; f:<node> generation and number of its last write;
                                 E:<node> epoch and generation in which it has re-announced all
    moq:{oN}:table       hash    path -> a line "node generation since hops" for each claim
    moq:{oN}:log         stream  as above
    moq:{oN}:own:<node>  hash    path -> since token: what the node has in this shard
    moq:{oN}:feed        channel as above

    moq:{p}:<random>     channel on which a straight road listens for its own probe
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

Shard = int | None
"""A shard's number; None is the membership."""


def shard_of(path: str, shards: int) -> int:
    """The shard that holds the claims of ``path``: the same on every node and in every version."""
    digest = hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % shards


@dataclass(frozen=True, slots=True)
class Keys:
    """The names under one prefix; clusters of one Redis differ in it."""

    prefix: str = "moq"

    def of(self, shard: Shard, node: str) -> list[str]:
        """The keys of a script, in the order in which every script expects them.

        Args:
            shard: which feed it works on.
            node: encoded name of the node it works for; "" where it works for none.
        """
        if shard is None:
            names = ("meta", "nodes", "log", "lease", "grave", "revoked")
            return [f"{self.prefix}:{{m}}:{name}" for name in names]
        tag = f"{self.prefix}:{{o{shard}}}"
        return [f"{tag}:meta", f"{tag}:table", f"{tag}:log", f"{tag}:own:{node}"]

    def channel(self, shard: Shard) -> str:
        """Where the events of a feed are published."""
        tag = "m" if shard is None else f"o{shard}"
        return f"{self.prefix}:{{{tag}}}:feed"

    def probe(self, name: str) -> str:
        """A channel of one road's own."""
        return f"{self.prefix}:{{p}}:{name}"

    def pattern(self) -> str:
        """A glob for all of them, as an ACL takes it."""
        escaped = "".join(f"\\{c}" if c in "*?[]\\" else c for c in self.prefix)
        return f"{escaped}:*"
