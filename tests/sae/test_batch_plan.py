"""The plan: every row once an epoch, every slot of a block once, whatever the number of workers."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from configs.train import TrainConfig
from sae.training.batch_plan import Plan, make_plan
from sae.training.collectives import lanes_of

plans = st.builds(
    lambda steps, epochs, size, lanes, block, length, seed: Plan(
        steps * size * lanes, epochs, size * lanes, lanes, block, length, seed
    ),
    st.integers(1, 9), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 6),
    st.integers(0, 99),
)  # fmt: skip


@given(plans)
def test_every_row_is_read_once_an_epoch(plan: Plan) -> None:
    read = Counter(
        row
        for block in range(plan.blocks)
        for lane in range(plan.lanes)
        for rows in plan.lane_batches(block, lane)
        for row in rows
    )
    assert read == {row: plan.epochs for row in range(plan.rows)}


@given(plans)
def test_every_slot_of_a_block_is_dealt_out_once(plan: Plan) -> None:
    steps = [step for block in range(plan.blocks) for step in plan.steps(block)]
    assert steps == list(range(plan.total_steps))
    order = plan.permutation(plan.blocks - 1, 0)
    slots = len(plan.steps(plan.blocks - 1)) * plan.batch_rows // plan.lanes * plan.context_length
    assert torch.equal(order.sort().values, torch.arange(slots))


@given(st.integers(1, 8), st.integers(1, 16))
def test_workers_share_out_all_lanes_in_order(workers: int, lanes: int) -> None:
    shares = [lanes_of(rank, workers, lanes) for rank in range(workers)]
    assert [lane for share in shares for lane in share] == list(range(lanes))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def _config(**settings: object) -> TrainConfig:
    sae = {"hook": "blocks.0.hook_resid_post", "d_sae": 8, "k": 1}
    base = {"model": "models/" + "0" * 16, "tokens": "tokens/" + "0" * 16, "saes": [sae]}
    return TrainConfig.model_validate({**base, **settings})


def test_rows_beyond_the_split_are_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"wants 100 rows of split 'train', which has 64"):
        make_plan(_config(rows=100), 64, 8)


def test_a_split_smaller_than_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="has 5 rows, less than one step of batch_rows = 8"):
        make_plan(_config(), 5, 8)


def test_rows_that_do_not_fill_a_step_are_left_out() -> None:
    assert make_plan(_config(batch_rows=8), 30, 8).rows == 24
