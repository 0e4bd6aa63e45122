"""What a peer may see and publish here: from the URL it came by, and the token it brought."""

from collections.abc import Callable
from urllib.parse import parse_qsl, unquote

from moq_relay.cluster.address import node_url
from moq_relay.cluster.targets import CHALLENGE, LINK, REGISTER, TOKEN
from moq_relay.daemon.tokens import Claims, Key
from moq_relay.daemon.values import Public
from moq_relay.errors import Unauthorized, WireError
from moq_relay.relay.access import Access, Holder
from moq_relay.relay.path import covers, normalise

OPEN = 'set auth.public = "" to allow everybody everything'
"""The way out for whoever configured nothing."""


def bearer(authorization: str | None) -> str | None:
    """The token of an ``Authorization`` header; None when it has none.

    Raises:
        Unauthorized: it asks for something else than a bearer.
    """
    if authorization is None:
        return None
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("only Authorization: Bearer is understood")
    return token.strip()


class Authority:
    """Grants rights by the peer's token, or by ``auth.public`` to who has none."""

    def __init__(
        self,
        public: Public | None,
        *,
        key: Key | None = None,
        shared_token: bool = False,
        challenged: Callable[[str], bool] = lambda _challenge: False,
    ) -> None:
        """Take the settings.

        Args:
            key: which verifies tokens; without one they are refused.
            shared_token: whether a token that names no node makes its bearer a node.
            challenged: whether a root was told that this process can answer a challenge.
        """
        self._public = public or Public()
        self._key = key
        self._shared_token = shared_token
        self._challenged = challenged

    @property
    def refuses_all(self) -> bool:
        """Whether nobody may do anything."""
        return self._key is None and not self._public.publish and not self._public.subscribe

    def authorise(self, target: str) -> Access:
        """The rights of a peer that came by ``target``, ``/path?query`` or empty.

        The path becomes the session's root, and no right reaches above it.

        Raises:
            Unauthorized: nothing below that path is allowed, or it is no path.
        """
        path, _, query = target.partition("?")
        asked = _parameters(query.partition("#")[0])
        root = _root(path)
        if CHALLENGE in asked:
            if not self._challenged(asked[CHALLENGE]):
                raise Unauthorized("this process was not challenged")
            return Access(root, (), (), challenge=asked[CHALLENGE])
        return self._grant(
            root,
            asked.get(TOKEN),
            register=_node(asked.get(REGISTER)),
            local_only=LINK in asked,
        )

    def below(self, root: str, token: str | None = None) -> Access:
        """The rights of a peer whose root is ``root``, a path.

        Raises:
            Unauthorized: nothing below it is allowed.
        """
        return self._grant(root, token)

    def _grant(
        self,
        root: str,
        token: str | None,
        *,
        register: str | None = None,
        local_only: bool = False,
    ) -> Access:
        if not token:
            claims = Claims(self._public.publish, self._public.subscribe)
        elif self._key is None:
            raise Unauthorized("this relay takes no tokens")
        else:
            claims = self._key.verify(token)
        # Nodes are nodes of the whole cluster: below some path nobody is one.
        cluster = claims.cluster and not root and self._names_its_node(claims)
        if register is not None:
            self._may_register(claims, register, cluster=cluster)
        access = Access(
            root=root,
            publish=_narrowed(claims.publish, root),
            subscribe=_narrowed(claims.subscribe, root),
            cluster=cluster,
            node=claims.node if cluster else None,
            register=register,
            local_only=local_only,
            credential=claims.credential,
            holder=Holder(claims.root or root.partition("/")[0], claims.token, claims.subject),
        )
        if not access.publish and not access.subscribe and not cluster:
            raise Unauthorized(
                f"the token allows nothing below /{root}"
                if token
                else f"nothing below /{root} is public"
            )
        return access

    def _names_its_node(self, claims: Claims) -> bool:
        return claims.node is not None or self._shared_token

    def _may_register(self, claims: Claims, register: str, *, cluster: bool) -> None:
        if not claims.cluster:
            raise Unauthorized("only a token with the claim cluster may register a node")
        if not self._names_its_node(claims):
            raise Unauthorized(
                "the token names no node; give each node its own, with the claim node, "
                "or set cluster.shared_token here"
            )
        if not cluster:
            raise Unauthorized("a node registers at the path /")
        if claims.node not in {None, register}:
            raise Unauthorized("the token is another node's")


def _parameters(query: str) -> dict[str, str]:
    """The last value of each; one without a value is there, and empty."""
    try:
        return dict(parse_qsl(query, keep_blank_values=True, errors="strict"))
    except ValueError as error:
        raise Unauthorized("the query of the URL cannot be read") from error


def _node(text: str | None) -> str | None:
    try:
        return None if text is None else node_url(text)
    except ValueError as error:
        raise Unauthorized(f"the node to register {error}") from error


def _root(path: str) -> str:
    try:
        return normalise(unquote(path, errors="strict"))
    except (UnicodeDecodeError, WireError) as error:
        raise Unauthorized(f"the path cannot be a root: {error}") from error


def _narrowed(prefixes: tuple[str, ...], root: str) -> tuple[str, ...]:
    if any(covers(prefix, root) for prefix in prefixes):
        return (root,)
    return tuple(prefix for prefix in prefixes if covers(root, prefix))
