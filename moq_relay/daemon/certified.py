"""Rights by certificate: it proves which node of the cluster somebody is, and nothing else."""

from urllib.parse import parse_qsl

from moq_relay.cluster.address import host_port, node_url
from moq_relay.cluster.targets import CHALLENGE, LINK, REGISTER, TOKEN
from moq_relay.errors import Unauthorized
from moq_relay.relay.access import Access


def by_certificate(target: str, names: tuple[str, ...]) -> Access | None:
    """The rights of a peer that came by ``target`` as a node that is one of ``names``.

    They are those of a token with the claims ``cluster``, ``node`` and ``get`` of everything. None
    for who does not come as a node, and for who has a token beside the certificate of another: what
    they may is told elsewhere.

    Raises:
        Unauthorized: the certificate is another node's.
    """
    path, _, query = target.partition("?")
    try:
        asked = dict(parse_qsl(query.partition("#")[0], errors="strict"))
        node = node_url(asked.get(REGISTER) or asked[LINK])
    except (KeyError, ValueError):
        return None
    if path.strip("/") or CHALLENGE in asked:
        return None
    host = host_port(node).host
    if host not in names:
        if TOKEN in asked:
            return None
        raise Unauthorized(f"the certificate is for {', '.join(names)} and not for {host}")
    return Access(
        publish=(),
        cluster=True,
        node=node,
        register=node if REGISTER in asked else None,
        local_only=LINK in asked,
        by_certificate=True,
        credential=f"certificate {host}",
    )
