"""Interventions made ready for one language model: which hooks are read and changed, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from configs.steering import Condition, Intervention
from sae.formats.sae_folder import Sae
from sae.language_model import LanguageModel
from sae.language_model.hooks import HookPoint
from sae.steering.errors import SteeringError


class SteeringPlan(NamedTuple):
    """`reads`: the SAEs (by id) that encode at each hook; `changes`: the interventions at each hook that is changed.

    `points`: the hook points by name. `maxima`: the largest activation of (sae, latent), where a unit needs it.
    """

    saes: Mapping[str, Sae]
    points: Mapping[str, HookPoint]
    reads: Mapping[str, tuple[str, ...]]
    changes: Mapping[str, tuple[Intervention, ...]]
    maxima: Mapping[tuple[str, int], float]


def make_plan(
    lm: LanguageModel,
    saes: Mapping[str, Sae],
    interventions: Sequence[Intervention],
    maxima: Mapping[tuple[str, int], float],
) -> SteeringPlan:
    """Raises SteeringError for a feature that does not exist, or a condition that is known only after its change."""
    points: dict[str, HookPoint] = {}
    reads: dict[str, list[str]] = {}
    changes: dict[str, list[Intervention]] = {}
    for one in interventions:
        sae = _sae(saes, one)
        if one.unit == "max" and (one.sae, one.latent) not in maxima:
            raise SteeringError(
                f"the largest activation of latent {one.latent} of {one.sae} is not known: extract its features, or give the "
                "value in unit raw or norm"
            )
        if sae.scales_each_input:
            raise SteeringError(
                f"{one.sae} scales each activation by its own length before it encodes: how large a change would be has no one "
                "meaning, so its features do not steer"
            )
        changes.setdefault(sae.target_hook, []).append(one)
        _read(reads, one.sae, sae)
        if one.when is not None:
            other = _sae(saes, one.when)
            _read(reads, one.when.sae, other)
            _check_order(lm, str(other.metadata["hook_name"]), sae.target_hook, one)
        _check_order(lm, str(sae.metadata["hook_name"]), sae.target_hook, one)
    for name in {*reads, *changes}:
        points[name] = lm.hook(name)
    return SteeringPlan(
        saes, points, {k: tuple(v) for k, v in reads.items()}, {k: tuple(v) for k, v in changes.items()}, maxima
    )


def _sae(saes: Mapping[str, Sae], wanted: Intervention | Condition) -> Sae:
    sae = saes[wanted.sae]
    if sae.is_crosscoder:
        raise SteeringError(
            f"{wanted.sae} is a crosscoder, whose latents are read from several hooks and make each: its features do not steer. "
            "Steer with an SAE of one hook"
        )
    if wanted.latent >= sae.d_sae:
        raise SteeringError(f"there is no latent {wanted.latent} in {wanted.sae}: they are 0 to {sae.d_sae - 1}")
    return sae


def _read(reads: dict[str, list[str]], id: str, sae: Sae) -> None:
    at = reads.setdefault(str(sae.metadata["hook_name"]), [])
    if id not in at:
        at.append(id)


def _check_order(lm: LanguageModel, read: str, changed: str, one: Intervention) -> None:
    """A hook that is read must be computed no later than the one that is changed."""
    if read == changed:
        return
    names = lm.hook_names()
    if (
        read not in names
        or changed not in names
        or names.index(lm.hook(read).name) > names.index(lm.hook(changed).name)
    ):
        raise SteeringError(
            f"the change of latent {one.latent} at {changed} depends on activations at {read}, which the model computes later: "
            "use a feature of the same hook or an earlier one"
        )
