"""What a feature does to the next token: the model's prediction with the feature ablated and amplified, on its own examples.

Each change stands beside a control: a change of the same length along another feature's direction, at the same position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sae.labels.activations import Activations
from sae.labels.text import Float64, Int64
from sae.language_model import LanguageModel
from sae.language_model.hooks import HookPoint
from sae.language_model.resumed_forward import logits_of
from sae.language_model.single_positions import SinglePositions

VARIANTS = 5  # unchanged, ablated, ablated along the control, amplified, amplified along the control
_LOGITS = 1 << 22  # logits at once; a few such tensors are in memory together
_SEED = 4
NEUTRAL_PROMPT = "In my experience,"
_AMPLIFIED = 10  # times a feature's mean activation, on the neutral prompt


class EffectExamples(NamedTuple):
    """Positions that features are changed at, sorted by position: feature, flat position and activation, each [n]."""

    feature: Int64
    position: Int64
    value: npt.NDArray[np.float32]


class Effects(NamedTuple):
    """One row an example [n]: KL in nats from the default prediction to the ablated one, and the change of the log probability
    of the feature's promoted tokens when its activation is doubled; each with its control.
    """

    feature: Int64
    ablation: Float64
    ablation_control: Float64
    promotion: Float64
    promotion_control: Float64


class Decoder(NamedTuple):
    """Decoder directions [F, d], promoted token ids int64 [F, k] (none: k = 0), and each feature's control int64 [F]."""

    directions: Tensor
    promoted: Tensor
    control: Tensor


def draw_effect_examples(active: Activations, count: int, strength: float, seed: int) -> EffectExamples:
    """At most `count` of the strong active positions of each feature, drawn by the seed."""
    parts: list[tuple[Int64, Int64, npt.NDArray[np.float32]]] = []
    for feature in range(active.features):
        at, values = active.of(feature), active.values_of(feature)
        strong = np.flatnonzero(values >= strength * float(values.max(initial=0.0)))
        random = np.random.default_rng((seed, feature, _SEED))
        drawn = np.sort(random.choice(strong, min(count, len(strong)), replace=False))
        parts.append((np.full(len(drawn), feature), at[drawn], values[drawn]))
    feature_of, position, value = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((feature_of, position))
    return EffectExamples(feature_of[order], position[order], value[order])


def controls(active: Activations, seed: int) -> Int64:
    """Another feature that is active somewhere, for each feature; itself if there is no other."""
    alive = np.flatnonzero(np.diff(active.starts))
    control = np.arange(active.features)
    if len(alive) > 1:
        shuffled = np.random.default_rng((seed, _SEED)).permutation(alive)
        control[shuffled] = np.roll(shuffled, 1)
        dead = np.setdiff1d(np.arange(active.features), alive)
        control[dead] = alive[0]
    return control


def amplified(active: Activations) -> Tensor:
    """The activation [F] with which output scores are measured; 0 for a feature that is never active."""
    means = [float(active.values_of(f).mean()) if len(active.of(f)) else 0.0 for f in range(active.features)]
    return _AMPLIFIED * torch.tensor(means)


@torch.inference_mode()
def effects(
    lm: LanguageModel,
    hook: HookPoint,
    read: Callable[[int, int], tuple[Tensor, Tensor | None]],
    examples: EffectExamples,
    decoder: Decoder,
    length: int,
    pass_rows: int,
) -> Iterator[tuple[int, Effects]]:
    """The effects of examples, pass by pass, each with the row that it has come to.

    `read(start, stop)` gives token ids int64 [n, L] and the documents that attention stays in, or None.
    """
    rows = examples.position // length
    for start in range(0, int(rows.max(initial=-1)) + 1, pass_rows):
        low, high = np.searchsorted(rows, [start, start + pass_rows])
        if low == high:
            continue
        ids, document = read(start, start + pass_rows)
        passed = SinglePositions(lm, ids, hook, document)
        part = EffectExamples(examples.feature[low:high], examples.position[low:high], examples.value[low:high])
        yield start + pass_rows, _effects(lm, passed, part, decoder, start, length)


def _effects(
    lm: LanguageModel, passed: SinglePositions, examples: EffectExamples, decoder: Decoder, start: int, length: int
) -> Effects:
    device = passed.activations.device
    feature = torch.from_numpy(examples.feature).to(device)
    at = torch.from_numpy(examples.position).to(device)
    row, position = at // length - start, at % length
    own = decoder.directions[feature] * torch.from_numpy(examples.value).to(device)[:, None]
    other = _along(decoder.directions[decoder.control[feature]], own)
    x = passed.activations[row, position].float()
    variants = torch.cat([x, x - own, x - other, x + own, x + other])
    states = passed.final_states(row.repeat(VARIANTS), position.repeat(VARIANTS), variants)
    found = [
        _compare(lm, chunk, decoder.promoted[feature[at]])
        for at in torch.split(torch.arange(len(feature), device=device), _rows_at_once(lm))
        for chunk in [states.view(VARIANTS, len(feature), -1)[:, at]]
    ]
    columns = torch.cat(found, 1).cpu().numpy()
    return Effects(examples.feature, *columns)


def _rows_at_once(lm: LanguageModel) -> int:
    return max(1, _LOGITS // lm.vocab_size)


def _along(direction: Tensor, change: Tensor) -> Tensor:
    """Vectors along `direction` [n, d], as long as `change` [n, d]."""
    length = direction.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    scaled: Tensor = direction / length * change.norm(dim=-1, keepdim=True)
    return scaled


def _compare(lm: LanguageModel, states: Tensor, promoted: Tensor) -> Tensor:
    """The four columns of Effects [4, n] from final states [VARIANTS, n, d_model]."""
    default = logits_of(lm, states[0]).float().log_softmax(-1)
    columns = []
    for variant in (1, 2):
        changed = logits_of(lm, states[variant]).float().log_softmax(-1)
        columns.append((default.exp() * (default - changed)).sum(-1))
    before = _mass(default, promoted)
    for variant in (3, 4):
        changed = logits_of(lm, states[variant]).float().log_softmax(-1)
        columns.append(_mass(changed, promoted) - before)
    return torch.stack(columns).double()


def _mass(log_probability: Tensor, tokens: Tensor) -> Tensor:
    """Log of the probability [n] of any of the tokens int64 [n, k]; NaN without tokens."""
    if not tokens.shape[1]:
        return torch.full((len(tokens),), float("nan"), device=tokens.device)
    return log_probability.gather(1, tokens).logsumexp(1)


@torch.inference_mode()
def output_scores(
    lm: LanguageModel, hook: HookPoint, prompt: Sequence[int], activation: Tensor, decoder: Decoder
) -> tuple[Float64, Float64]:
    """Output score [F] of every feature on a neutral prompt, and the same with its control's direction; NaN without tokens.

    (1 - rank / V) times the largest probability among the promoted tokens, when `activation` [F] times the direction is added
    at the prompt's last token; rank: of the promoted token that ranks best (arXiv 2505.20063).
    """
    ids = torch.tensor([list(prompt)], device=lm.device)
    passed = SinglePositions(lm, ids, hook)
    x = passed.activations[0, -1].float()
    activation = activation.to(lm.device)
    scores: list[list[Tensor]] = [[], []]
    for features in torch.split(torch.arange(len(activation), device=lm.device), _rows_at_once(lm)):
        own = decoder.directions[features] * activation[features, None]
        other = _along(decoder.directions[decoder.control[features]], own)
        for side, change in enumerate((own, other)):
            row = torch.zeros_like(features)
            states = passed.final_states(row, row + ids.shape[1] - 1, x + change)
            scores[side].append(_output_score(logits_of(lm, states).float(), decoder.promoted[features]))
    own_score, control_score = (torch.cat(parts).double().cpu().numpy() for parts in scores)
    return own_score, control_score


def _output_score(logits: Tensor, promoted: Tensor) -> Tensor:
    if not promoted.shape[1]:
        return torch.full((len(logits),), float("nan"), device=logits.device)
    best = logits.gather(1, promoted).max(1).values
    rank = (logits > best[:, None]).sum(1)
    return (1 - rank / logits.shape[1]) * (best - logits.logsumexp(1)).exp()
