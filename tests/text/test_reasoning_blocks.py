import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.text.reasoning_blocks import without


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>\nno, yes\n</think>\n\nYes.", "Yes."),
        ("<think></think>Yes.", "Yes."),
        ("<THINK>a</THINK> Yes.", "Yes."),
        ("<thinking>a</thinking>\nYes.", "Yes."),
        ("[THINK]a[/THINK]Yes.", "Yes."),
        ("First. <think>a</think>Then. <think>b</think>Last.", "First. Then. Last."),
        ("<think>a <think>b</think> c</think>Yes.", "Yes."),
        ("<think>a\nYes, but", ""),  # cut while reasoning
        ("Well.\n<think>a", "Well."),
        ("reasoning from the start\n</think>\nYes.", "Yes."),  # opened in the prompt
        ("<think>a</think>b</think>Yes.", "Yes."),
        ("a</think>b</think>Yes.", "Yes."),  # the last closing tag counts
        ("<think>what does <think> mean?</think>Yes.", "Yes."),
        ('<think>it says "a"</think>Yes.', "Yes."),
        ("No tag at all, <b>bold</b>.\n", "No tag at all, <b>bold</b>.\n"),
        ("Write `<think>` before it.", "Write `<think>` before it."),
        ('tag = "<think>"', 'tag = "<think>"'),
        ("I <thinks> so", "I <thinks> so"),
        ("", ""),
    ],
)
def test_reasoning_is_removed_from_the_answer(text, answer):
    assert without(text) == answer


@given(st.text(alphabet=st.characters(exclude_characters="<[`\"'"), max_size=50), st.text(max_size=20))
def test_the_content_of_a_closed_block_is_always_removed(reasoning, answer):
    marked = f"<think>{reasoning}SECRET</think>"
    assert "SECRET" not in without(marked + answer)
