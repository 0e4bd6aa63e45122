"""The metrics of tokens: which end the sessions that came by them."""

from moq_relay.daemon.metrics.readings import C, Family, G, by_label, one
from moq_relay.daemon.tokens.standing import ENDS

TOKENS: tuple[Family, ...] = (
    Family(
        "moq_relay_sessions_ended",
        C,
        "Sessions that were ended because their token was `expired`, or `revoked`.",
        lambda node: by_label({} if node.standing is None else node.standing.ended, ENDS),
        ("reason",),
    ),
    Family(
        "moq_relay_revocations",
        G,
        "Entries of tokens that were taken back, as far as is known here; the same on every node.",
        lambda node: one(0 if node.standing is None else len(node.standing.revocations)),
        join=max,
    ),
    Family(
        "moq_relay_revocations_pending",
        G,
        "Of these, those that the registry may not have yet; not 0 for long while it is there.",
        lambda node: one(
            0
            if node.standing is None or node.cluster is None
            else node.standing.revocations.pending
        ),
        join=max,
    ),
)
