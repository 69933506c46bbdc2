"""Token counts of texts, as training encodes them."""

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from lima.reporting import token_counts
from lima.reporting.results import MissingResult


def test_a_spelled_special_token_counts_as_plain_text(tmp_path):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytewise = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.add_special_tokens([AddedToken("<|eot|>", special=True)])
    bytewise.save(str(tmp_path / "tokenizer.json"))
    # one token a byte
    assert token_counts.counter(tmp_path)(["ab", "a<|eot|>"]) == [2, 8]


def test_a_missing_tokenizer_names_the_stage_to_run(tmp_path):
    with pytest.raises(MissingResult, match=r"tokenizer\.json not found; run `dvc repro base@"):
        token_counts.counter(tmp_path / "none")
