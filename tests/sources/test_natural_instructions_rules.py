import pytest

from lima.sources.natural_instructions.rules import unpolished


@pytest.mark.parametrize(
    "output",
    [
        "He went .",
        "Yes , he did",
        "He did n't go.",
        "It 's late.",
        "the Scale ( GCS ) is used",
        "all in small letters, as in a review.",
    ],
)
def test_output_written_for_a_program_is_detected(output):
    assert unpolished(output)


@pytest.mark.parametrize(
    "output",
    [
        "He went.",
        "The file .bashrc is read first.",
        "It's the 1960s: 'twas late.",
        "A (small) dog",
        "42",
        "Prices: 3 / 4",
    ],
)
def test_an_output_written_for_a_reader_passes(output):
    assert unpolished(output) is None
