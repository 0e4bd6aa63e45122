"""Paths of broadcasts: segments joined by slashes, matched segment by segment."""

from moq_relay.errors import WireError

MAX_SEGMENTS = 32
"""Segments a path may have; the same bound as moq-lite's and moq-transport's namespaces."""


def normalise(path: str) -> str:
    """Drop leading, trailing and doubled slashes; the empty path is the root itself.

    Raises:
        WireError: it has more than 32 segments.
    """
    if path and (path[0] == "/" or path[-1] == "/" or "//" in path):
        path = "/".join(filter(None, path.split("/")))
    if path.count("/") >= MAX_SEGMENTS:
        raise WireError(f"a path has more than {MAX_SEGMENTS} segments")
    return path


def covers(prefix: str, path: str) -> bool:
    """Whether ``path`` is ``prefix`` or lies below it; ``roo`` does not cover ``room``."""
    return not prefix or path == prefix or path.startswith(prefix + "/")


def below(prefix: str, path: str) -> str:
    """What of ``path`` follows ``prefix``, which must cover it."""
    return path[len(prefix) :].removeprefix("/")


def join(root: str, path: str) -> str:
    """``path`` as seen from the root of all, when a session sees it below ``root``."""
    return f"{root}/{path}" if root and path else root or path


def hidden(suffix: str) -> bool:
    """Whether a segment starts with a dot: such paths are served but not announced."""
    return suffix.startswith(".") or "/." in suffix


def ancestors(path: str) -> list[str]:
    """The path and every path above it, longest first; the last is the root."""
    found = [path]
    while path:
        path = path.rpartition("/")[0]
        found.append(path)
    return found
