"""Metrics of what trust rests on, and of how it is renewed: certificates, and keys of tokens."""

from moq_relay.daemon.metrics.readings import C, Family, G, by_label, one
from moq_relay.daemon.tokens.keyfiles import OUTCOMES
from moq_relay.daemon.watched import REFUSED, TAKEN

TRUST: tuple[Family, ...] = (
    Family(
        "moq_relay_certificate_expiry_timestamp_seconds",
        G,
        "When the certificate ends, of several the first (`client.tls.cert` is one), seconds since "
        "1970.",
        lambda node: one(node.expiry()),
        join=min,
    ),
    Family(
        "moq_relay_certificate_reloads",
        C,
        "Changes of the files of certificates: `taken`, or `refused`, because they cannot be used; "
        "the old ones stay then, and the log says why.",
        lambda node: by_label(node.reloads, (TAKEN, REFUSED)),
        ("outcome",),
    ),
    Family(
        "moq_relay_certificate_files_refused",
        G,
        "Settings of certificates (`server.tls`, `server.tls.root`, `client.tls`) whose files "
        "cannot be used as they are now; what they held before is in use.",
        lambda node: one(node.files_refused()),
        join=max,
    ),
    Family(
        "moq_relay_key_reads",
        C,
        "How often a place of keys (`auth.key`, `auth.key_dir`, `auth.jwks`) was read, and what "
        "came of it: `read`, something new; `unchanged`; `missing`, there is nothing; `failed`, it "
        "cannot be had or used.",
        lambda node: by_label({} if node.keys is None else node.keys.reads, OUTCOMES),
        ("outcome",),
    ),
    Family(
        "moq_relay_keys_stale_seconds",
        G,
        "How long keys are past the time at which they had to be read anew, because that fails; "
        "the last good ones stay meanwhile. Of several the longest; 0: all are as they should be.",
        lambda node: one(0.0 if node.keys is None else node.keys.stale()),
        join=max,
    ),
)
