"""What a peer may see and publish here: from the URL it came by, and the token it brought."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from urllib.parse import parse_qsl, unquote

from moq_relay.cluster.address import node_url
from moq_relay.cluster.targets import CHALLENGE, LINK, REGISTER, TOKEN
from moq_relay.daemon.config.sources import Loaded
from moq_relay.daemon.config.values import Public
from moq_relay.daemon.tokens.claims import Claims, Rules, verify
from moq_relay.daemon.tokens.jwk import Key, named_key
from moq_relay.daemon.tokens.keyring import keyring
from moq_relay.daemon.tokens.keys import Keyring
from moq_relay.daemon.tokens.standing import Standing
from moq_relay.errors import Unauthorized, WireError
from moq_relay.relay.access import Access, Holder
from moq_relay.relay.path import covers, normalise
from moq_relay.sessions.context import Later

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
        keys: Keyring | None = None,
        rules: Rules | None = None,
        shared_token: bool = False,
        challenged: Callable[[str], bool] = lambda _challenge: False,
        standing: Standing | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Take the settings.

        Args:
            keys: which verify tokens; without them tokens are refused.
            rules: what tokens have to say besides.
            shared_token: whether a token that names no node makes its bearer a node.
            challenged: whether a root was told that this process can answer a challenge.
            standing: knows which tokens were taken back; without it none is.
            now: unix seconds, of the clock that those who sign tokens have too.
        """
        self._public = public or Public()
        self._keys = keys
        self._rules = rules or Rules()
        self._shared_token = shared_token
        self._challenged = challenged
        self._standing = standing
        self._now = now

    @classmethod
    def of(
        cls, loaded: Loaded, challenged: Callable[[str], bool], standing: Standing
    ) -> "Authority":
        """That of a relay with these settings.

        Raises:
            ConfigError: the key that they name cannot be used.
        """
        settings = loaded.settings
        auth = settings.auth
        return cls(
            auth.public,
            keys=keyring(loaded),
            rules=Rules(auth.issuer, auth.audience, auth.max_lifetime),
            shared_token=settings.cluster.shared_token,
            challenged=challenged,
            standing=standing,
        )

    @property
    def keys(self) -> Keyring | None:
        """Which verify tokens; None: tokens are refused."""
        return self._keys

    @property
    def refuses_all(self) -> bool:
        """Whether nobody may do anything."""
        return self._keys is None and not self._public.publish and not self._public.subscribe

    async def run(self) -> None:
        """Keep the keys as they are where they are kept, until cancelled."""
        if self._keys is not None:
            await self._keys.run()

    def authorise(self, target: str) -> Access | Later:
        """The rights of a peer that came by ``target``, ``/path?query`` or empty.

        The path becomes the session's root, and no right reaches above it. Where the key of its
        token has to be looked up, the rights come later.

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
        return self._rights(
            asked.get(TOKEN),
            partial(
                self._grant,
                root,
                register=_node(asked.get(REGISTER)),
                local_only=LINK in asked,
            ),
        )

    async def below(self, root: str, token: str | None = None) -> Access:
        """The rights of a peer whose root is ``root``, a path.

        Raises:
            Unauthorized: nothing below it is allowed.
        """
        found = self._rights(token, partial(self._grant, root))
        return found if isinstance(found, Access) else await found()

    def _rights(
        self, token: str | None, grant: Callable[[Claims | None], Access]
    ) -> Access | Later:
        """What ``grant`` makes of the claims of ``token``; None of who has none."""
        if not token:
            return grant(None)
        if self._keys is None:
            raise Unauthorized("this relay takes no tokens")
        kid = named_key(token)
        known = self._keys.find(kid)
        if known is not None:
            return grant(self._claims(token, known))
        return partial(self._look_up, self._keys, kid, token, grant)

    async def _look_up(
        self, keys: Keyring, kid: str | None, token: str, grant: Callable[[Claims | None], Access]
    ) -> Access:
        return grant(self._claims(token, await keys.look_up(kid)))

    def _claims(self, token: str, keys: Sequence[Key]) -> Claims:
        claims = verify(token, keys, self._rules, self._now())
        if self._standing is not None:
            self._standing.judge(claims)
        return claims

    def _grant(
        self,
        root: str,
        said: Claims | None,
        *,
        register: str | None = None,
        local_only: bool = False,
    ) -> Access:
        claims = said or Claims(self._public.publish, self._public.subscribe)
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
            expires=claims.expires,
            credential=claims.credential,
            holder=Holder(
                claims.root or root.partition("/")[0], claims.token, claims.subject, claims.issued
            ),
        )
        if not access.publish and not access.subscribe and not cluster:
            raise Unauthorized(
                f"nothing below /{root} is public"
                if said is None
                else f"the token allows nothing below /{root}"
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
