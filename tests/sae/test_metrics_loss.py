"""CE and KL: against a float64 reference, closed forms of the scores, and laws about batching."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.metrics import loss as loss_module
from sae.metrics.loss import ce_score, kl_score, mean_losses, row_losses
from sae.metrics.positions import count_unscored, scored_positions

Example = tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]


def example(seed: int, n: int = 3, length: int = 9, vocab: int = 50) -> Example:
    """Logits of 4 variants at the scored positions, their targets, and the mask."""
    generator = torch.Generator().manual_seed(seed)
    scored = torch.rand(n, length, generator=generator) < 0.6
    m = int(scored.sum())
    logits = [torch.randn(m, vocab, generator=generator) * 4 for _ in range(4)]
    return logits, torch.randint(vocab, (m,), generator=generator), scored


def same(states: torch.Tensor) -> torch.Tensor:
    return states


def test_against_float64() -> None:
    logits, targets, scored = example(0)
    found = mean_losses([row_losses(logits, same, targets, scored)])
    assert found is not None
    assert found.scored == len(targets)
    clean = logits[0].double().log_softmax(-1)
    for name, one in zip(("clean", "sae", "zero", "mean"), logits, strict=True):
        log = one.double().log_softmax(-1)
        assert found.ce[name] == pytest.approx(float(torch.nn.functional.nll_loss(log, targets)), rel=1e-6)
        assert found.kl[name] == pytest.approx(float((clean.exp() * (clean - log)).sum(-1).mean()), rel=1e-5)


def test_uniform_predictions_cost_log_v() -> None:
    flat = [torch.zeros(4, 64)] * 4
    found = mean_losses([row_losses(flat, same, torch.arange(4), torch.ones(2, 2, dtype=torch.bool))])
    assert found is not None
    assert found.ce["clean"] == pytest.approx(np.log(64), rel=1e-7)
    assert set(found.kl.values()) == {0.0}


def test_scores() -> None:
    assert ce_score(ablated=9.0, sae=9.0, clean=3.0) == 0  # no better than ablation
    assert ce_score(ablated=9.0, sae=3.0, clean=3.0) == 1  # the untouched model
    assert ce_score(ablated=9.0, sae=4.5, clean=3.0) == 0.75
    assert ce_score(ablated=3.0, sae=4.0, clean=3.0) is None
    assert kl_score(ablated=6.0, sae=6.0) == 0
    assert kl_score(ablated=6.0, sae=0.0) == 1
    assert kl_score(ablated=0.0, sae=1.0) is None


def test_nothing_scored_gives_no_losses() -> None:
    none = torch.zeros(2, 3, dtype=torch.bool)
    part = row_losses([torch.zeros(0, 8)] * 4, same, torch.zeros(0, dtype=torch.int64), none)
    assert part.scored.tolist() == [0, 0]
    assert mean_losses([part]) is None
    assert mean_losses([]) is None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 70))
def test_batches_and_slices_change_no_bit(seed: int, cut: int, piece: int) -> None:
    logits, targets, scored = example(seed, n=4)
    whole = row_losses(logits, same, targets, scored)
    m = int(scored[:cut].sum())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_module, "SLICE", piece)
        patch.setattr(loss_module, "_CACHED", 3 * 50)
        parts = [
            row_losses([one[:m] for one in logits], same, targets[:m], scored[:cut]),
            row_losses([one[m:] for one in logits], same, targets[m:], scored[cut:]),
        ]
    assert mean_losses(parts) == mean_losses([whole])
    assert np.concatenate([p.ce for p in parts]).tobytes() == whole.ce.tobytes()
    assert np.concatenate([p.kl for p in parts]).tobytes() == whole.kl.tobytes()


def test_threads_change_no_bit() -> None:
    logits, targets, scored = example(5, n=2, length=40, vocab=5000)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            results.append(b"".join(a.tobytes() for a in row_losses(logits, same, targets, scored)))
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_scored_positions_need_a_next_data_position_of_the_row() -> None:
    data = np.array([[0, 1, 1, 0, 1, 1], [1, 1, 1, 1, 1, 0]], dtype=bool)
    document = np.array([[-1, 0, 0, 0, 1, 1], [1, 1, 2, 2, 2, -1]])
    by_row = scored_positions(data, document, "row")
    assert by_row.tolist() == [[False, True, False, False, True, False], [True, True, True, True, False, False]]
    by_document = scored_positions(data, document, "document")
    assert by_document.tolist() == [[False, True, False, False, True, False], [True, False, True, True, False, False]]
    assert count_unscored(data, document, "row") == {"row_end": 1, "next_not_data": 2, "next_other_document": 0}
    assert count_unscored(data, document, "document") == {"row_end": 1, "next_not_data": 2, "next_other_document": 1}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["row", "document"]))
def test_every_data_position_is_scored_or_counted_once(seed: int, attention: str) -> None:
    rng = np.random.default_rng(seed)
    data = rng.random((4, 9)) < 0.7
    document = np.sort(rng.integers(0, 3, (4, 9)), axis=1)
    scored = scored_positions(data, document, attention)  # type: ignore[arg-type]
    unscored = count_unscored(data, document, attention)  # type: ignore[arg-type]
    assert not (scored & ~data).any()
    assert scored.sum() + sum(unscored.values()) == data.sum()
