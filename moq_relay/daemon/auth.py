"""What a peer may see and publish here, from the URL it came by."""

from urllib.parse import unquote

from moq_relay.daemon.values import Public
from moq_relay.errors import Unauthorized, WireError
from moq_relay.relay.access import Access
from moq_relay.relay.path import covers, normalise

OPEN = 'set auth.public = "" to allow everybody everything'
"""The way out for whoever configured nothing."""


class Authority:
    """Grants rights by ``auth.public``."""

    def __init__(self, public: Public | None) -> None:
        self._public = public or Public()

    @property
    def refuses_all(self) -> bool:
        """Whether nobody may do anything."""
        return not self._public.publish and not self._public.subscribe

    def authorise(self, target: str) -> Access:
        """The rights of a peer that came by ``target``, ``/path?query`` or empty.

        The path becomes the session's root, and no right reaches above it.

        Raises:
            Unauthorized: nothing below that path is public, or it is no path.
        """
        return self.below(_root(target))

    def below(self, root: str) -> Access:
        """The rights of a peer whose root is ``root``, a path.

        Raises:
            Unauthorized: nothing below it is public.
        """
        access = Access(
            root=root,
            publish=_narrowed(self._public.publish, root),
            subscribe=_narrowed(self._public.subscribe, root),
        )
        if not access.publish and not access.subscribe:
            raise Unauthorized(f"nothing below /{root} is public")
        return access


def _root(target: str) -> str:
    try:
        return normalise(unquote(target.partition("?")[0], errors="strict"))
    except (UnicodeDecodeError, WireError) as error:
        raise Unauthorized(f"the path cannot be a root: {error}") from error


def _narrowed(prefixes: tuple[str, ...], root: str) -> tuple[str, ...]:
    if any(covers(prefix, root) for prefix in prefixes):
        return (root,)
    return tuple(prefix for prefix in prefixes if covers(root, prefix))
