"""What one session may see of the origin: a root, and prefixes to publish and watch under."""

from dataclasses import dataclass

from moq_relay.relay.path import covers


@dataclass(frozen=True, slots=True)
class Access:
    """A session's rights. Prefixes are full paths, seen from the root of all."""

    root: str = ""
    """Every path on the session's wire is relative to this."""
    publish: tuple[str, ...] = ("",)
    subscribe: tuple[str, ...] = ("",)

    def may_publish(self, path: str) -> bool:
        """Whether the session may announce ``path``, a full path."""
        return _allowed(path, self.publish) and covers(self.root, path)

    def may_subscribe(self, path: str) -> bool:
        """Whether the session may see and read ``path``, a full path."""
        return _allowed(path, self.subscribe) and covers(self.root, path)


def _allowed(path: str, prefixes: tuple[str, ...]) -> bool:
    return any(covers(prefix, path) for prefix in prefixes)
