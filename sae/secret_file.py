"""Secrets in files that their owner alone can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sae.quoting import shortened_path


def read_secret(path: Path, what: str, error: type[ValueError]) -> str | None:
    """What a secret file holds; None if there is none, or nothing in it. Raises `error` if others can read it.

    `what` names the secret in messages: a token, a key.
    """
    place = shortened_path(path)
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise error(
                    f"others can read the {what} in {place} (mode {mode:o}), so it is not used: "
                    f"`chmod 600 {place}`, and if others may have read it, make a new {what}"
                )
            return file.read(4096).decode("ascii", "replace").strip() or None
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise error(f"cannot read the {what} in {place}: {fault.strerror}") from None
