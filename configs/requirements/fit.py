"""Whether a requirement fits an offer: now, once the autoscaler adds nodes, once other jobs finish, or never."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from configs.requirements.blockers import holders
from configs.requirements.capacity import Offer
from configs.requirements.labels import matches
from configs.requirements.packing import place, rooms, rooms_of_new, total, with_free
from configs.requirements.requirement import MAX_WORKERS, Requirement
from configs.requirements.suggestions import advice, largest_worker


class Fit(Enum):
    """How a requirement stands to an offer, from worst to best."""

    NEVER = "can never fit"
    LATER = "fits when other jobs finish"
    GROW = "fits when the autoscaler adds nodes"
    NOW = "fits now"


class Verdict(NamedTuple):
    """The answer of fit()."""

    fit: Fit
    reason: str  # need, offer, and the finding
    largest_workers: int  # the most workers of this size that could ever run
    largest_worker: Requirement | None = None  # NEVER: the largest worker, no larger than asked, that a node could hold
    holders: tuple[str, ...] = ()  # LATER, GROW: who has what it waits for
    adds: tuple[tuple[str, int], ...] = ()  # GROW: how many nodes of which type would do
    finding: str = ""  # how the one stands to the other, in words, for where need and offer are told already
    advice: str = ""  # NEVER: what to change


def fit(need: Requirement, offer: Offer, held: Mapping[str, Requirement] = MappingProxyType({})) -> Verdict:
    """Holds a requirement against an offer. Deterministic and without side effects.

    `held`: what was granted already, by the name of who holds it. It is taken out of what is free (packing.place), and
    the names are given back where the requirement waits for them.

    Labels of an autoscaler's node type may be unknown: then the type counts, and the reason says so.
    """
    empty = sum(rooms(need, offer.nodes, [total(node) for node in offer.nodes]))
    ever = min(MAX_WORKERS, empty + _addable(need, offer))
    if _store_is_short(need, offer):
        return _verdict(Fit.NEVER, need, offer, "the store is too small", 0)
    if ever < need.workers:
        return _verdict(Fit.NEVER, need, offer, f"the most workers of this size that fit is {ever}", ever)
    places = place(offer, list(held.values()))
    now = sum(rooms(need, offer.nodes, places.free))
    offer = with_free(offer, places.free)
    if now >= need.workers:
        return _verdict(Fit.NOW, need, offer, "it fits", ever)
    words = f"{now} of {need.workers} workers fit now"
    by = holders(need, offer, places, held) if empty > now else ()
    if by:
        words += f", the place is held by {', '.join(by)}"
    adds = _adds(need, offer, need.workers - now)
    if adds:
        added = ", ".join(f"{n} x {name}" for name, n in adds)
        words += f"; the autoscaler would have to add {added}{_doubt(need, offer, dict(adds))}"
    return _verdict(Fit.GROW if adds else Fit.LATER, need, offer, words, ever)._replace(holders=by, adds=adds)


def _addable(need: Requirement, offer: Offer) -> int:
    return sum(rooms_of_new(need, one) * (MAX_WORKERS if one.more is None else one.more) for one in offer.node_types)


def _adds(need: Requirement, offer: Offer, missing: int) -> tuple[tuple[str, int], ...]:
    """How many of which node types hold the missing workers, those whose labels are known first; none if they cannot."""
    adds: list[tuple[str, int]] = []
    for one in sorted(offer.node_types, key=lambda one: not matches(need.labels, one.labels)):
        each = rooms_of_new(need, one)
        if missing > 0 and each and one.more != 0:
            n = -(-missing // each) if one.more is None else min(one.more, -(-missing // each))
            adds.append((one.name, n))
            missing -= n * each
    return tuple(adds) if missing <= 0 else ()


def _doubt(need: Requirement, offer: Offer, adds: Mapping[str, int]) -> str:
    unsure = [one.name for one in offer.node_types if one.name in adds and not matches(need.labels, one.labels)]
    if not unsure:
        return ""
    labels = ", ".join(f"{key}={value}" for key, value in need.labels.items())
    return f" (if its nodes carry {labels}: the labels of {', '.join(unsure)} are not known before there is one)"


def _verdict(answer: Fit, need: Requirement, offer: Offer, finding: str, ever: int) -> Verdict:
    reason = f"needs {need}; there {'is' if len(offer.nodes) == 1 else 'are'} {offer}; {finding}"
    verdict = Verdict(answer, reason, ever, finding=finding)
    if answer is Fit.NEVER:
        largest = None if _store_is_short(need, offer) else largest_worker(need, offer)
        return verdict._replace(largest_worker=largest, advice=advice(need, offer, ever))
    return verdict


def _store_is_short(need: Requirement, offer: Offer) -> bool:
    return offer.store_free is not None and need.store_bytes > offer.store_free
