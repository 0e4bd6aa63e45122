"""The set of nodes as octoDNS reads it: a zone's file with one name, A and AAAA, answered by place.

octoDNS knows no coordinates but continents, countries and states. Each of ``PLACES`` goes to the
nearest region, and the rest of a continent to the one nearest to its middle.
Its rules have two bounds that shape this: a pool may be named by one rule with places only, and a
place must come before what contains it. So a region has one pool for its continents and one for
its exceptions, and the exceptions come first.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import asin, cos, radians, sin, sqrt
from typing import Any

from moq_relay.daemon.geo.answer import Target

Point = tuple[float, float]

CONTINENTS: dict[str, Point] = {
    "AF": (6.0, 20.0),
    "AN": (-80.0, 0.0),
    "AS": (25.0, 95.0),
    "EU": (50.0, 12.0),
    "NA": (38.0, -92.0),
    "OC": (-32.0, 148.0),
    "SA": (-14.0, -56.0),
}
"""Degrees north and east, about where the middle of its people is."""

PLACES: dict[str, Point] = {
    "AF-DZ": (36, 3), "AF-EG": (30, 31), "AF-ET": (9, 39), "AF-GH": (6, 0), "AF-KE": (-1, 37),
    "AF-MA": (34, -7), "AF-NG": (7, 4), "AF-SN": (15, -17), "AF-TN": (37, 10), "AF-TZ": (-6, 38),
    "AF-ZA": (-28, 28), "AS-AE": (25, 55), "AS-BD": (24, 90), "AS-CN": (33, 115),
    "AS-HK": (22, 114), "AS-ID": (-6, 108), "AS-IL": (32, 35), "AS-IN": (21, 78),
    "AS-IQ": (33, 44), "AS-IR": (35, 51), "AS-JP": (36, 138), "AS-KR": (37, 127),
    "AS-KZ": (46, 73), "AS-MY": (3, 102), "AS-PH": (14, 121), "AS-PK": (30, 71),
    "AS-SA": (24, 45), "AS-SG": (1, 104), "AS-TH": (14, 101), "AS-TR": (39, 32),
    "AS-TW": (24, 121), "AS-VN": (16, 106), "EU-AT": (48, 15), "EU-BE": (51, 4),
    "EU-CH": (47, 8), "EU-CZ": (50, 15), "EU-DE": (51, 9), "EU-DK": (56, 11), "EU-ES": (40, -4),
    "EU-FI": (61, 25), "EU-FR": (47, 2), "EU-GB": (52, -1), "EU-GR": (38, 23), "EU-HU": (47, 19),
    "EU-IE": (53, -7), "EU-IT": (43, 12), "EU-NL": (52, 5), "EU-NO": (60, 10), "EU-PL": (52, 19),
    "EU-PT": (39, -9), "EU-RO": (45, 26), "EU-RU": (55, 40), "EU-SE": (59, 16), "EU-UA": (49, 31),
    "NA-CA-AB": (52, -114), "NA-CA-BC": (49, -123), "NA-CA-MB": (50, -97), "NA-CA-NB": (46, -66),
    "NA-CA-NS": (45, -63), "NA-CA-ON": (44, -79), "NA-CA-QC": (46, -73), "NA-CA-SK": (51, -106),
    "NA-CR": (10, -84), "NA-CU": (22, -80), "NA-DO": (19, -70), "NA-GT": (15, -91),
    "NA-MX": (20, -100), "NA-PA": (9, -80),
    "NA-US-AK": (61, -150), "NA-US-AL": (33, -87), "NA-US-AR": (35, -92), "NA-US-AZ": (33, -112),
    "NA-US-CA": (35, -119), "NA-US-CO": (40, -105), "NA-US-CT": (41, -73), "NA-US-DC": (39, -77),
    "NA-US-DE": (39, -76), "NA-US-FL": (28, -82), "NA-US-GA": (33, -84), "NA-US-HI": (21, -158),
    "NA-US-IA": (42, -93), "NA-US-ID": (44, -115), "NA-US-IL": (41, -88), "NA-US-IN": (40, -86),
    "NA-US-KS": (38, -96), "NA-US-KY": (38, -85), "NA-US-LA": (31, -91), "NA-US-MA": (42, -71),
    "NA-US-MD": (39, -77), "NA-US-ME": (44, -70), "NA-US-MI": (43, -84), "NA-US-MN": (45, -93),
    "NA-US-MO": (38, -92), "NA-US-MS": (33, -90), "NA-US-MT": (47, -111), "NA-US-NC": (36, -79),
    "NA-US-ND": (47, -99), "NA-US-NE": (41, -97), "NA-US-NH": (43, -71), "NA-US-NJ": (40, -74),
    "NA-US-NM": (35, -106), "NA-US-NV": (37, -116), "NA-US-NY": (41, -74), "NA-US-OH": (40, -83),
    "NA-US-OK": (36, -97), "NA-US-OR": (45, -123), "NA-US-PA": (40, -77), "NA-US-RI": (42, -71),
    "NA-US-SC": (34, -81), "NA-US-SD": (44, -99), "NA-US-TN": (36, -86), "NA-US-TX": (31, -97),
    "NA-US-UT": (40, -112), "NA-US-VA": (38, -78), "NA-US-VT": (44, -73), "NA-US-WA": (47, -122),
    "NA-US-WI": (44, -89), "NA-US-WV": (39, -81), "NA-US-WY": (43, -107),
    "OC-AU": (-33, 147), "OC-NZ": (-39, 175), "SA-AR": (-34, -61), "SA-BO": (-17, -66),
    "SA-BR": (-20, -45), "SA-CL": (-34, -71), "SA-CO": (5, -75), "SA-EC": (-1, -79),
    "SA-PE": (-11, -77), "SA-UY": (-34, -56), "SA-VE": (10, -67),
}  # fmt: skip
"""Codes of octoDNS, and whole degrees north and east of about where most of their people are."""

TTL = 60
DEFAULT = "default"
NAMES = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Pool:
    """Nodes of one region, or of several that no place is nearest to."""

    name: str
    at: Point | None
    nodes: tuple[Target, ...]


def zone(found: Iterable[Target], *, name: str = "", ttl: int = TTL) -> str:
    """The file of a zone as octoDNS' YamlProvider reads it; ends with a newline.

    Args:
        found: whom to tell; at least one.
        name: the record's, inside the zone; "" is the zone's own.
        ttl: of both records, seconds.
    """
    nodes = list(found)
    records = [record for version in (4, 6) if (record := _record(nodes, version, ttl))]
    return "---\n" + "\n".join(_yaml({name: records})) + "\n"


def distance(here: Point, there: Point) -> float:
    """Kilometres over ground."""
    north, east = radians(there[0] - here[0]), radians(there[1] - here[1])
    slant = (
        sin(north / 2) ** 2 + cos(radians(here[0])) * cos(radians(there[0])) * sin(east / 2) ** 2
    )
    return 2 * 6371 * asin(min(1.0, sqrt(slant)))


def _record(nodes: list[Target], version: int, ttl: int) -> dict[str, Any] | None:
    nodes = [node for node in nodes if node.family(version)]
    if not nodes:
        return None
    values = sorted({address for node in nodes for address in node.family(version)})
    record: dict[str, Any] = {"type": "A" if version == 4 else "AAAA", "ttl": ttl, "values": values}
    pools, rules = _share_out(_by_region(nodes))
    record["dynamic"] = {
        "pools": {name: _pool(pool, back, version) for name, (pool, back) in pools.items()},
        "rules": rules,
    }
    return record


def _by_region(nodes: list[Target]) -> list[Pool]:
    """A pool for each region; of what has no coordinates, one that is nowhere."""
    regions: dict[str, list[Target]] = {}
    for node in nodes:
        key = (NAMES.sub("-", node.region.lower()).strip("-") or "none") if node.coordinates else ""
        regions.setdefault(key, []).append(node)
    return [_at_middle(key, members) for key, members in sorted(regions.items())]


def _at_middle(name: str, members: list[Target]) -> Pool:
    points = [node.coordinates for node in members if node.coordinates is not None]
    if not name or not points:
        return Pool(DEFAULT, None, tuple(members))
    # Nodes of one region are near to each other; the first's side of the date line is as good.
    middle = (sum(p[0] for p in points) / len(points), sum(p[1] for p in points) / len(points))
    return Pool(name, middle, tuple(members))


def _share_out(
    regions: list[Pool],
) -> tuple[dict[str, tuple[Pool, str | None]], list[dict[str, Any]]]:
    """Pools with what each falls back to, and the rules that lead to them."""
    placed = [pool for pool in regions if pool.at is not None]
    broad = {place: _nearest(at, placed) for place, at in CONTINENTS.items()} if placed else {}
    fine = {
        place: won
        for place, at in PLACES.items()
        if placed and (won := _nearest(at, placed)) != broad[place[:2]]
    }
    winners = {*broad.values(), *fine.values()}
    # Who is nearest to no place would get nobody: it shares with the nearest that does.
    joined = {pool.name: list(pool.nodes) for pool in placed if pool.name in winners}
    homes = [pool for pool in placed if pool.name in winners]
    for pool in placed:
        if pool.at is not None and pool.name not in winners:
            joined[_nearest(pool.at, homes)] += pool.nodes
    everybody = Pool(f"{DEFAULT}-all", None, tuple(n for pool in regions for n in pool.nodes))
    pools: dict[str, tuple[Pool, str | None]] = {everybody.name: (everybody, None)}
    rules: list[dict[str, Any]] = []
    for kind, places in (("near", fine), ("region", broad)):
        for home in homes:
            geos = sorted(place for place, won in places.items() if won == home.name)
            if not geos:
                continue
            name = f"{kind}-{home.name}"
            pools[name] = (Pool(name, home.at, tuple(joined[home.name])), everybody.name)
            rules.append({"geos": geos, "pool": name})
    return pools, [*rules, {"pool": everybody.name}]


def _nearest(at: Point, pools: Iterable[Pool]) -> str:
    """The name of the pool that is nearest; of two as near, the first by name."""
    return min((distance(at, pool.at), pool.name) for pool in pools if pool.at is not None)[1]


def _pool(pool: Pool, back: str | None, version: int) -> dict[str, Any]:
    weights: dict[str, int] = {}
    for node in pool.nodes:
        for address in node.family(version):
            weights[address] = node.weight
    values = [{"value": address, "weight": weights[address]} for address in sorted(weights)]
    if len(values) == 1:
        # octoDNS refuses a weight other than 1 where there is no choice.
        del values[0]["weight"]
    return {"values": values} | ({} if back is None else {"fallback": back})


# Text. Keys are sorted as octoDNS wants them; strings are quoted, so that none is a number.


def _natural(key: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", key)
    return [(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts if p]


def _yaml(value: Any, indent: str = "") -> list[str]:
    """Lines of a mapping or a list."""
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key in sorted(value, key=_natural):
            lines += _entry(f"{indent}{_scalar(key)}:", value[key], indent)
        return lines
    for item in value:
        if isinstance(item, Mapping):
            first, *rest = _yaml(item, f"{indent}  ")
            lines += [f"{indent}- {first.lstrip()}", *rest]
        else:
            lines.append(f"{indent}- {_scalar(item)}")
    return lines


def _entry(head: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, str | int):
        return [f"{head} {_scalar(value)}"]
    return [head, *_yaml(value, f"{indent}  ")]


def _scalar(value: str | int) -> str:
    plain = isinstance(value, int) or re.fullmatch(r"[a-z][a-z-]*", value)
    if plain and value not in {"no", "yes", "on", "off", "y", "n", "true", "false", "null"}:
        return str(value)
    return json.dumps(value)
