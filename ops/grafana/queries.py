"""Expressions that several panels have in common."""

HERE = 'cluster="$cluster", relay_region=~"$region", instance=~"$instance"'
RECORDED = 'cluster="$cluster", relay_region=~"$region"'
"""What is recorded by region knows no instances."""
CLUSTER = 'cluster="$cluster"'
PAIR = "relay_region, peer_region"
NODE = "relay_region, instance"


def metric(name: str, match: str = "") -> str:
    """A metric of the chosen relays."""
    return f"{name}{{{HERE}{', ' if match else ''}{match}}}"


def rate(name: str, by: str, match: str = "") -> str:
    """How fast a counter grows, a second."""
    return f"sum by ({by}) (rate({metric(name, match)}[$__rate_interval]))"


def mean(name: str, by: str, match: str = "") -> str:
    """The mean of what a histogram saw; nothing where it saw nothing."""
    return f"{rate(f'{name}_sum', by, match)} / ({rate(f'{name}_count', by, match)} > 0)"


def quantile(share: float, name: str, by: str, match: str = "") -> str:
    """A quantile of what a histogram saw, as fine as its bucket; nothing where it saw nothing."""
    found = f"histogram_quantile({share}, {rate(f'{name}_bucket', f'{by}, le', match)})"
    return f"{found} >= 0"
