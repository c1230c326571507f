"""Near misses of a feature: positions with a token that it is active on elsewhere, where it is silent.

An extraction keeps active positions only. So rows of its tokens that have such a token are run by the language model again, a few
of them, until there are enough near misses or the time is up.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sae.formats.features import FeaturesReader
from sae.formats.tokens import Role, TokenRows, TokensReader

ROWS_SEARCHED = 2048  # of the tokens, from the first one
ROWS_RUN = 8  # by the language model, at most
SECONDS = 8.0  # after which no other row is run
AROUND = 16  # tokens that are shown on either side
EACH_ROW = 2  # near misses of one row, at most

# Gives the activations of the feature and why each position is left out (None: it is data), for ids and roles of one row.
RunRow = Callable[[list[int], list[int]], Awaitable[tuple[list[float], list[str | None]]]]


class NearMiss(NamedTuple):
    """A position of a row where the feature is silent, and the tokens around it, itself at index `at`; `excluded`: indices of
    those that are no data."""

    row: int
    position: int
    at: int
    ids: list[int]
    acts: list[float]
    excluded: list[int]


class FoundNearMisses(NamedTuple):
    """Near misses, and of all positions with such a token in the rows that were run: how many are silent."""

    misses: list[NearMiss]
    forms: list[int]
    rows: int
    positions: int
    silent: int


class Piece(NamedTuple):
    """Part of a row that the model reads at once: positions `at` of row number `row`, and which are candidates."""

    row: int
    at: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    roles: npt.NDArray[np.uint8]
    wanted: npt.NDArray[np.bool_]


def active_forms(reader: FeaturesReader, tokens: TokensReader, latent: int) -> list[int]:
    """Ids of the tokens at the feature's examples, the most frequent first."""
    rows = reader.examples([latent], ["row", "position"]).to_pylist()
    ids = [int(tokens.read(one["row"], one["row"] + 1).input_ids[0, one["position"]]) for one in rows]
    return sorted(set(ids), key=lambda id: (-ids.count(id), id))


def pieces_with(tokens: TokensReader, forms: list[int], seed: int) -> list[Piece]:
    """Pieces of rows that have one of the tokens as data, at most ROWS_RUN, drawn by `seed` from the first ROWS_SEARCHED rows."""
    rows = tokens.read(0, min(tokens.n_rows, ROWS_SEARCHED))
    wanted = np.isin(rows.input_ids, forms) & (rows.roles == Role.DATA)
    numbers = np.random.default_rng(seed).permutation(np.flatnonzero(wanted.any(1)))[:ROWS_RUN]
    return [_piece(rows, int(n), wanted[n], tokens.attention) for n in numbers]


def _piece(rows: TokenRows, row: int, wanted: npt.NDArray[np.bool_], attention: str) -> Piece:
    """The row without padding, up to what is shown of its last candidate; of one document, where none sees another."""
    read = rows.roles[row] != Role.PAD
    if attention == "document":
        read &= rows.document[row] == rows.document[row, np.flatnonzero(wanted)[0]]
    at = np.flatnonzero(read)
    at = at[: int(np.flatnonzero(wanted[at])[-1]) + AROUND + 1]
    return Piece(row, at, rows.input_ids[row, at], rows.roles[row, at], wanted[at])


async def find_near_misses(pieces: list[Piece], forms: list[int], run: RunRow, limit: int) -> FoundNearMisses:
    """Runs pieces, one after the other, until there are `limit` near misses or SECONDS have passed."""
    misses: list[NearMiss] = []
    rows = positions = silent = 0
    until = time.monotonic() + SECONDS
    for piece in pieces:
        if len(misses) >= limit or time.monotonic() > until:
            break
        acts, left_out = await run(piece.ids.tolist(), piece.roles.tolist())
        data = [i for i in np.flatnonzero(piece.wanted).tolist() if left_out[i] is None]
        quiet = [i for i in data if not acts[i]]
        misses += [_near_miss(piece, acts, left_out, i) for i in _spread(quiet)[: limit - len(misses)]]
        rows, positions, silent = rows + 1, positions + len(data), silent + len(quiet)
    return FoundNearMisses(misses, forms, rows, positions, silent)


def _spread(quiet: list[int]) -> list[int]:
    return quiet if len(quiet) <= EACH_ROW else [quiet[0], quiet[-1]]


def _near_miss(piece: Piece, acts: list[float], left_out: list[str | None], i: int) -> NearMiss:
    start, stop = max(0, i - AROUND), i + AROUND + 1
    excluded = [at for at, reason in enumerate(left_out[start:stop]) if reason is not None]
    ids = piece.ids[start:stop].tolist()
    return NearMiss(piece.row, int(piece.at[i]), i - start, ids, acts[start:stop], excluded)


def run_by(model: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]], sae: str, latent: int) -> RunRow:
    """A RunRow that asks the interactive language model."""

    async def run(ids: list[int], roles: list[int]) -> tuple[list[float], list[str | None]]:
        answer = await model({"sae": sae, "ids": ids, "roles": roles, "top": 1, "latents": [latent]})
        return answer["latents"][str(latent)], [token["excluded"] for token in answer["tokens"]]

    return run
