"""Faults of data that were seen once, each with the test that would catch it: of the system before RayLens, and of RayLens."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CAUGHT_BY = {
    "lengths counted after padding": "sae/test_text_statistics.py::test_lengths_are_those_of_numpy",
    "stride repeated nothing, and overflow was lost": (
        "sae/test_text_row_options.py::test_each_token_is_data_once_whatever_the_options"
    ),
    "no split distribution": "sae/test_text_statistics.py::test_split_shares_sum_to_100",
    "two row lengths of one tokenizer shared a folder": "test_options.py::test_another_value_is_another_job",
    "the number of splits recorded as the number of rows": (
        "sae/test_text_statistics.py::test_figures_are_those_of_the_whole"
    ),
    "line ends deleted unasked": "sae/test_text_source_documents.py::test_html_goes_and_lines_stay",
    "padding trained on": "sae/test_training.py::test_only_data_positions_reach_the_saes",
    "hub tokens in task arguments": "jobs/test_stage_download.py::test_no_token_is_in_what_a_download_leaves",
    "options accepted and not forwarded": "jobs/test_stage_tokenize.py::test_options_reach_the_rows",
    "equal requests ran twice": "jobs/test_life_dispatcher.py::test_a_hundred_equal_requests_at_once_are_one_job",
    "an artifact deleted that something refers to": (
        "jobs/test_artifact_removal.py::test_rm_removes_row_and_files_unless_something_refers_to_them"
    ),
    "deep JSON": "sae/test_text_readers.py::test_the_message",
    "half of a surrogate pair": "sae/test_text_readers.py::test_text_that_is_no_valid_unicode_goes_by_the_policy",
    "file names that are not UTF-8": "sae/test_text_readers.py::test_a_name_that_is_not_utf8_is_read",
    "paths that are not UTF-8": "sae/test_sources.py::test_a_path_that_is_not_utf8_is_refused_by_its_key",
    "values that Python cannot hold beside the text": (
        "sae/test_text_readers.py::test_columns_that_are_not_needed_never_stop_a_download"
    ),
    "messages of hundreds of kilobytes": "sae/test_sources.py::test_messages_are_bounded",
    "blanks in a CSV header": "sae/test_text_readers.py::test_the_message",
    "chats taken for no column": "sae/test_text_chat_messages.py::test_each_shape_gives_the_same_chat",
    "a source with split train alone": (
        "sae/test_text_write_dataset.py::test_a_split_column_with_train_alone_still_gets_held_out_documents"
    ),
    "max_documents took one split": "sae/test_text_source_documents.py::test_the_limit_is_for_each_split_of_the_source",
    "tokenizer.json alone": "sae/test_text_tokenizer_spec.py::test_a_tokenizer_json_alone_has_bos_and_eos",
    "special strings of texts became special ids": (
        "sae/test_text_tokenizer_spec.py::test_bos_eos_and_pad_inside_a_text_are_never_data"
    ),
    "all configs of a hub dataset in one": "sae/test_sources.py::test_a_dataset_of_several_configs",
    "Arrow files read beyond their buffers": (
        "sae/test_text_damaged_files.py::test_arrow_is_not_read_beyond_its_buffers"
    ),
    "a damaged second stream taken for the end": (
        "sae/test_text_damaged_files.py::test_a_damaged_stream_behind_a_whole_one_is_no_end"
    ),
    "compressed tables that were never readable": "sae/test_text_damaged_files.py::test_compressed_tables_are_read",
    "small files that unpack to more than the memory": (
        "sae/test_text_damaged_files.py::test_what_unpacks_to_more_than_a_document_may_have"
    ),
}


@pytest.mark.parametrize("fault", CAUGHT_BY)
def test_the_test_is_there(fault: str) -> None:
    file, _, name = CAUGHT_BY[fault].partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
