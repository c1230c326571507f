"""What can go wrong with the catalog. Each carries one message that a person can act upon."""

from __future__ import annotations


class CatalogError(RuntimeError):
    """The catalog cannot be used, or does not have what a caller needs."""


class CatalogUnreachable(CatalogError):
    """The database does not answer, or others keep what is needed of it locked. The same call may work later."""


class NotFound(CatalogError):
    """The catalog has no job or artifact of that name."""


class IllegalMove(CatalogError):
    """A job cannot go from the state it is in to the state that was wanted."""


class StaleAttempt(CatalogError):
    """The attempt no longer holds its job: a newer one does, or the job has ended. It must stop and publish nothing."""


class CancelPending(StaleAttempt, IllegalMove):
    """The attempt still holds its job, but the job is to stop: it publishes nothing and cannot succeed any more."""


class InUse(CatalogError):
    """An artifact cannot be deleted: others were made from it, or a live job needs it. `referrers` names them."""

    def __init__(self, message: str, referrers: list[str]) -> None:
        super().__init__(message)
        self.referrers = referrers


class NameTaken(CatalogError):
    """A name belongs to something else in the same project. `holder` says to what."""

    def __init__(self, message: str, holder: str) -> None:
        super().__init__(message)
        self.holder = holder
