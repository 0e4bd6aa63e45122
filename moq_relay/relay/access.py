"""What one session may see of the origin: a root, and prefixes to publish and watch under."""

from dataclasses import dataclass, field

from moq_relay.relay.path import covers


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose rights they are, for those who account for what was used."""

    tenant: str = ""
    """The root that the token names, else the first segment of the session's root."""
    token: str | None = None
    """Hash of the token's own name, ``jti``."""
    subject: str | None = None
    """Hash of whom the token was made for, ``sub``."""
    issued: float | None = None
    """When it was signed, ``iat``, in unix seconds."""


@dataclass(frozen=True, slots=True)
class Access:
    """A session's rights. Prefixes are full paths, seen from the root of all."""

    root: str = ""
    """Every path on the session's wire is relative to this."""
    publish: tuple[str, ...] = ("",)
    subscribe: tuple[str, ...] = ("",)
    cluster: bool = False
    """Whether the peer is a node of the cluster, and may do what nodes do with each other."""
    node: str | None = None
    """The URL of the node that the peer's token or certificate proves it to be."""
    register: str | None = None
    """The URL of the node as which the peer wants to join here."""
    challenge: str | None = None
    """The peer came only to ask whether this process is the one that wants to join there."""
    local_only: bool = False
    """The peer is another node's link: it gets what publishers connected here have, only."""
    expires: float | None = None
    """Unix seconds from which on the peer may do nothing; None: they never end."""
    by_certificate: bool = False
    """``node`` is proven by the peer's certificate, and not by a token."""
    credential: str = ""
    """Tells tokens apart, and cannot be used as one."""
    holder: Holder = field(default=Holder(), compare=False)

    def may_publish(self, path: str) -> bool:
        """Whether the session may announce ``path``, a full path."""
        return _allowed(path, self.publish) and covers(self.root, path)

    def may_subscribe(self, path: str) -> bool:
        """Whether the session may see and read ``path``, a full path."""
        return _allowed(path, self.subscribe) and covers(self.root, path)


def _allowed(path: str, prefixes: tuple[str, ...]) -> bool:
    return any(covers(prefix, path) for prefix in prefixes)
