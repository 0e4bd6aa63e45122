"""Two files that belong together, replaced as others replace a certificate and its key."""

from collections.abc import Iterator
from pathlib import Path


class PairOfFiles:
    """``tls.crt`` and ``tls.key`` of a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.paths = (directory / "tls.crt", directory / "tls.key")
        self._number = 0

    def __iter__(self) -> Iterator[Path]:
        return iter(self.paths)

    def write(self, *contents: str | bytes) -> None:
        """Into the files as they are."""
        for path, content in zip(self.paths, contents, strict=True):
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def rename(self, *contents: str | bytes) -> None:
        """As ``moq-relay certs`` does: the key first, each whole at every moment."""
        for path, content in reversed(list(zip(self.paths, contents, strict=True))):
            new = path.with_suffix(".new")
            new.write_bytes(content.encode() if isinstance(content, str) else content)
            new.replace(path)

    def certbot(self, *contents: str | bytes | None) -> None:
        """Each file is a link to the latest of a row of archived ones, and is made anew.

        The key first; what is None stays as it is.
        """
        self._number += 1
        archive = self.directory / "archive"
        archive.mkdir(exist_ok=True)
        for path, content in reversed(list(zip(self.paths, contents, strict=True))):
            if content is None:
                continue
            kept = archive / f"{path.stem}{self._number}{path.suffix}"
            kept.write_bytes(content.encode() if isinstance(content, str) else content)
            path.unlink(missing_ok=True)
            path.symlink_to(kept)

    def kubernetes(self, *contents: str | bytes) -> None:
        """The files are links into ``..data``, itself a link that is swapped in one step."""
        self._number += 1
        volume = self.directory / f"..2026_{self._number}"
        volume.mkdir()
        for path, content in zip(self.paths, contents, strict=True):
            (volume / path.name).write_bytes(
                content.encode() if isinstance(content, str) else content
            )
            link = Path("..data") / path.name
            if not path.is_symlink() or path.readlink() != link:
                path.unlink(missing_ok=True)
                path.symlink_to(link)
        new = self.directory / "..data_tmp"
        new.symlink_to(volume.name)
        new.replace(self.directory / "..data")

    def prepare(self, way: str) -> None:
        """Put what the files hold where ``way`` has them, so that only the content is new later."""
        getattr(self, way)(*[path.read_bytes() for path in self.paths])
