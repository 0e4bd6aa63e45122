"""Routes to nodes that are no members any more, and live: a link that carries tracks says so.

Cut off from the registry alone, a node is taken out of the table when its lease ends; whoever has
a link to it knows better. So what it claimed last stays routed, after all others, until the link
ends, or the node is back and has said all that it has.
"""

from __future__ import annotations

from moq_relay.cluster.peers import Links
from moq_relay.cluster.registry import Registry


class Orphans:
    """Which routes stay without a claim."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._paths: dict[str, dict[str, None]] = {}
        """By node."""

    def of(self, node: str) -> tuple[str, ...]:
        """The paths of which the route to ``node`` stayed."""
        return tuple(self._paths.get(node, ()))

    def has(self, path: str, node: str) -> bool:
        """Whether the route of ``path`` to ``node`` stayed."""
        return path in self._paths.get(node, ())

    def keep(self, path: str, node: str, links: Links) -> bool:
        """Whether the route of ``path`` to ``node``, which claims it no more, stays."""
        link, kept = links.known(node), self._paths.get(node, {})
        if link is None or not links.is_up(node):
            stays = False
        elif node in self._registry.members:
            stays = path in kept and not self._registry.said_all(node, path)
        else:
            # One that carries nothing is not pinged: it may be up for long after its node died.
            stays = bool(kept) or link.subscriptions > 0
        if not stays:
            self.forget(path, node, links)
        elif link is not None:
            self._paths.setdefault(node, {})[path] = None
            link.watched = True
        return stays

    def forget(self, path: str, node: str, links: Links) -> None:
        """The route is gone, or claimed again."""
        kept = self._paths.get(node, {})
        kept.pop(path, None)
        ended = not kept and self._paths.pop(node, None) is not None
        if ended and (link := links.known(node)) is not None:
            link.watched = False
