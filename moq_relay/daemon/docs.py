"""Writes the pages of docs that follow from the code; ``--check`` fails when one is stale."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from moq_relay.cluster import keys as keys_of_redis
from moq_relay.cluster.acl import acl_rules
from moq_relay.daemon.clients import ROLES
from moq_relay.daemon.commands.check import toml
from moq_relay.daemon.config.settings import Settings
from moq_relay.daemon.config.sources import Key, keys
from moq_relay.daemon.metrics import families
from moq_relay.daemon.metrics.viewers import TRANSPORTS
from moq_relay.relay.histogram import LATENCY
from moq_relay.sessions.experience import AGES, FIRST
from moq_relay.wire.lite.versions import VERSIONS

DOCS = Path(__file__).parents[2] / "docs"
COMMAND = "python -m moq_relay.daemon.docs"
WRITTEN = f"<!-- Written by `{COMMAND}`: change the source, not this file. -->"

CONFIGURATION = f"""{WRITTEN}

# Configuration

Every setting is a key of the TOML file, a variable of the environment and a flag. A flag beats a
variable, a variable beats the file, and what nobody sets has the default below.

```
moq-relay relay.toml                     # run a relay
moq-relay check relay.toml               # say what is in force, and where each value came from
MOQ_LOG_LEVEL=debug moq-relay --file relay.toml --server-listen '[::]:4443'
```

Several values are a list in the file, and separated by commas in a variable or a flag. A key that
is not in this list is refused with the nearest one that is, and exit code 2; so is a value that
cannot be. A variable that begins with `MOQ_` and is not in this list is only warned of.

A small relay that everybody may use:

```toml
[server]
listen = "[::]:4443"
tls.generate = "localhost"

[web.http]
listen = "[::]:4443"        # the same number, so that browsers find /certificate.sha256

[auth]
public = ""                 # "" is everything; unset is nothing
```
"""


def _bounds(bounds: Sequence[float]) -> str:
    return ", ".join(f"{bound:g}" for bound in bounds)


CLOCKS = """
A delivery from another relay is measured by Redis' clock, as far as both relays know it: their
`moq_cluster_clock_error_seconds` together may be 10 ms. Each is half the relay's round trip to
Redis, so that nothing is measured between two that have a longer one than 10 ms each.
"""

METRICS = f"""{WRITTEN}

# Metrics

`http://<internal.listen>/metrics`, in Prometheus' text format. Base units are seconds and bytes;
totals count from the start of the process. Every combination of labels that is known beforehand is
there from the start, at 0. Besides these there are the `process_` metrics of the Prometheus client:
CPU seconds, resident memory, open files, start time.

Every metric but those has the label `relay_region`, the relay's own `cluster.region`. A histogram
has the parts `_bucket`, `_sum` and `_count`. What is exact is the sum and the count, and so the
mean; a quantile is only as fine as its bucket. Bounds of round trips and latencies, in seconds:
{_bounds(LATENCY)}.

| name | type | labels | meaning |
|---|---|---|---|
"""


REDIS = f"""{WRITTEN}

# The cluster's Redis

One Redis or Valkey, 7.0 or newer, holds who is a member and who has which broadcast. No frame of
any track passes through it.

## What it should be set to

| setting | value | why |
|---|---|---|
| `maxmemory-policy` | `noeviction` | otherwise it drops parts of the table when memory is short |
| `appendonly` | `yes` | otherwise every node has to claim everything again after its restart |
| `appendfsync` | `everysec` | a lost second is repaired by the nodes; `always` buys nothing |

A relay that reaches it itself looks at version, policy and append-only file when it connects and
again every `cluster.renew`, warns in one line of each that is not so, and shows them as
`moq_cluster_redis_faults`. It works all the same. `moq_cluster_redis_memory_bytes` is what Redis
uses, and `moq_cluster_redis_memory_limit_bytes` is `maxmemory`: with `noeviction` Redis refuses
writes when the two meet, and then no new broadcast is known elsewhere.

## How it is reached

`redis.url` is `redis://host:port`, `rediss://host:port` with TLS (`redis.ca` names the certificates
to believe), `unix:///path`, or `redis+sentinel://host:port,host:port/name`: then the Sentinels are
asked which server is the primary, anew at each connection. User and password may be in the URL, in
`redis.user` and `redis.password`, or in files (`redis.url_file`, `redis.user_file`,
`redis.password_file`); no log line and no `moq-relay check` shows them. Several clusters may share
a Redis: each has its own `redis.prefix`. Redis Cluster is not supported yet.

## What its user may do

Whoever can write these keys is trusted [as every member of the
cluster](../security.md#who-can-write-redis): it can claim any broadcast
in any node's name. Give the relays a user of their own, and nobody else the password. All that the
relay and its scripts call is in this rule, which is written from them:

```
ACL SETUSER moq on >PASSWORD {{rules}}
```

`moq` after the tilde and the ampersand is `redis.prefix`. A node that comes through a root needs no
user: the root runs its scripts, and puts the node's name into each.

## What is in it

```
{{keys}}
```

Nothing there is precious: an empty Redis is filled again by the nodes within seconds, and viewers
do not notice. See [losing Redis](losing-redis.md).
"""


def redis_page() -> str:
    """The text of docs/operations/redis.md."""
    shapes = (keys_of_redis.__doc__ or "").partition("``moq``:\n\n")[2].rstrip()
    rules = " ".join(acl_rules())
    return REDIS.format(rules=rules, keys=dedent(shapes))


def configuration() -> str:
    """The text of docs/configuration.md."""
    parts = [CONFIGURATION]
    section = ""
    for key in keys():
        table = key.name.split(".")[0]
        if table != section:
            section = table
            parts.append(f"\n## {section}\n\n{_section(section)}\n")
        parts.append(_setting(key))
    return "".join(parts)


def _section(name: str) -> str:
    model = Settings.model_fields[name].annotation
    return (model.__doc__ or "").strip() if model else ""


def _setting(key: Key) -> str:
    names = ", ".join(f"`{name}`" for name in (*key.variables, *key.flags))
    default = "" if key.part else f" Default: {_default(key)}."
    form = key.form.text[:1].upper() + key.form.text[1:]
    return f"\n### `{key.name}`\n\n{key.meaning}\n\n{form}.{default} {names}\n"


def _default(key: Key) -> str:
    return "unset" if key.default is None or key.default == () else f"`{toml(key.default)}`"


KINDS = {
    CounterMetricFamily: "counter",
    GaugeMetricFamily: "gauge",
    HistogramMetricFamily: "histogram",
}


def metric_table() -> str:
    """The text of docs/metrics.md."""
    rows = [METRICS]
    for family in families.FAMILIES:
        kind = KINDS[family.kind]
        labels = ", ".join(f"`{name}`" for name in family.labels)
        rows.append(f"| `{family.sample_name}` | {kind} | {labels} | {family.meaning} |\n")
    told = ", ".join(f"`{name}`" for name in families.INFO_LABELS)
    rows.append(f"| `moq_relay_info` | gauge | {told} | {families.INFO_MEANING} |\n")
    transports = ", ".join(f"`{name}`" for name in TRANSPORTS)
    versions = ", ".join(f"`{version.name}`" for version in VERSIONS)
    reasons = ", ".join(f"`{name}`" for name in families.REASONS)
    roles = ", ".join(f"`{name}`" for name in ROLES)
    rows += [
        f"\n`transport` is one of {transports}; `version` one of {versions}.\n",
        "`direction` is `in`, from publishers, or `out`, to viewers.\n",
        f"`reason` of a reset is one of {reasons}.\n",
        f"`role` is one of {roles}: what a client does, or may do while it does nothing.\n",
        "`peer_region` is a `cluster.region` of the members.\n",
        f"\nBounds of `moq_relay_first_object_seconds`: {_bounds(FIRST)};\n",
        f"of `moq_relay_group_age_seconds`: {_bounds(AGES)}.\n",
        CLOCKS,
    ]
    return "".join(rows)


PAGES = {
    "configuration.md": configuration,
    "metrics.md": metric_table,
    "operations/redis.md": redis_page,
}


def main(arguments: Sequence[str], directory: Path = DOCS) -> int:
    """Write the pages, or with ``--check`` compare them; 1 when one is stale."""
    wanted = {directory / name: text() for name, text in PAGES.items()}
    return write_or_compare(wanted, directory, "docs", COMMAND, check="--check" in arguments)


def write_or_compare(
    wanted: Mapping[Path, str], root: Path, name: str, command: str, *, check: bool
) -> int:
    """Write generated files, or say which below ``root``, called ``name``, are stale.

    Returns:
        1 when one is stale.
    """
    stale = []
    for path, text in wanted.items():
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(f"{name}/{path.relative_to(root)} is stale; run {command}\n")
    sys.stderr.write("".join(stale))
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
