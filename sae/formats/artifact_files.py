"""How readers see the files of an artifact: names, and a local path for each name."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class ArtifactFilesLike(Protocol):
    """The files of one artifact. `cluster.store.ArtifactFiles` is one; `LocalFiles` is another."""

    @property
    def names(self) -> list[str]:
        """Logical names, for example `train-00000.parquet`."""
        ...

    def path(self, name: str) -> Path:
        """Local path of a file, fetched and verified where that is needed."""
        ...


class ArtifactFolderLike(ArtifactFilesLike, Protocol):
    """Files that can also be had as one folder under their logical names (language models, SAEs)."""

    def directory(self) -> Path:
        """A local folder that holds all files under their logical names."""
        ...


class LocalFiles:
    """A plain folder seen as the files of an artifact. Raises FileNotFoundError if the folder does not exist."""

    def __init__(self, directory: Path | str) -> None:
        self._directory = Path(directory)
        if not self._directory.is_dir():
            raise FileNotFoundError(f"there is no folder {self._directory}")

    @property
    def names(self) -> list[str]:
        """All files below the folder, with `/` between folders, sorted."""
        root = self._directory
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())

    def path(self, name: str) -> Path:
        """Path of `name`. Raises FileNotFoundError that says what the folder holds."""
        path = self._directory / name
        if not path.is_file():
            raise FileNotFoundError(
                f"{self._directory} holds no file {name!r}; it holds {', '.join(self.names) or 'none'}"
            )
        return path

    def directory(self) -> Path:
        """The folder itself."""
        return self._directory
