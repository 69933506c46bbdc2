"""The paper: drop answers "written in the first person ("I", "my", …)", or referring to other answers or the site."""

import pytest

from lima.curation import prose, style


@pytest.mark.parametrize(
    "answer",
    [
        "I would boil it.",
        "It works, I'm sure.",
        "It works, I’ve tried.",
        "That is what I'd do.",
        "In my experience it works.",
        "MY opinion: no.",
        "The fault is mine.",
        "Somebody told me.",
        "A photo of myself.",
        "(I think)",
        "Neither do I.",
        "It fails. i think it leaks",
        "i'm not sure",
        "- First item\n- I add salt",
        "> quoted\n\nI agree.",
        "When I, in 1990, left",
        "Type I've never seen",
        "At the U.S. I saw one",
        "Guests of our restaurant ask for it cold.",
        "Our own kids never noticed.",
    ],
)
def test_each_word_of_the_first_person_is_found(answer):
    assert style.first_person(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Boil it for ten minutes.",
        "Since n is even, we have n = 2k; let us see what our k is.",  # the teacher's "we", kept in the released data
        "Inform the IT team in the US about ME/CFS.",
        "Our proof needs a lemma, our bodies need salt.",
        "The kings James I and Elizabeth I reigned, Wilhelm I too.",
        "World War I ended in 1918.",
        "A type I error rejects a true hypothesis.",
        "Type I diabetes is treated with insulin.",
        "I/O is slow.",
        "Ohm: I = V/R, so I=2 A.",
        "Press Ctrl+I or Ctrl + I.",
        "Take I-95 north.",
        "J. I. Packer wrote it.",
        "I. Introduction\nII. Method",
        "Two cases: (I) rain, (II) snow.",
        "They dug the mine; it was a coal mine.",
        "For each i take a look at the list.",  # a variable
        "Use `I = my.value` here.",
        "```python\nmy = me + I\n```",
        "~~~\nwe\n~~~",
        "> I have a dream\n> that my children",
        'He said "I have a dream" and left.',
        "He said “my children”.",
        "With $I_1 + I$ and $$my = we$$ it follows.",
        "The music of mimes and memes",
    ],
)
def test_what_is_no_first_person_is_left(answer):
    assert style.first_person(answer) is None


def test_the_detail_shows_the_words_around():
    assert style.first_person("It is widely known that I never boil it twice.") == "widely known that I never boil it"


@pytest.mark.parametrize(
    "answer",
    [
        "As mentioned, it boils.",
        "As already mentioned above, it boils.",
        "As @Bob says, it boils.",
        "@Bob is right.",
        "As Bob said, it boils.",
        "See Stack Exchange for more.",
        "On stackexchange it is told.",
        "There is a question on StackOverflow.",
        "There is a question on Stack Overflow.",
        "The other answers are right.",
        "Another answer tells how.",
        "Bob's answer tells how.",
        "The answer above is right.",
        "The accepted answer is wrong.",
        "See the comments.",
        "Your comment is right on.",
        "As the OP says.",
        "The original poster wants tea.",
        "Your post says tea.",
        "The linked question tells how.",
        "This is a duplicate of an old one.",
        "On this site nobody knows.",
        "It boils.\n\nEdit: it does not.",
        "**EDIT 2**: it does not.",
        "Update (2014): it does not.",
        "Please upvote it.",
        "Downvoters, say why.",
        "To answer the question in the title: no.",
        "The title of your question says tea.",
        "Over at cooking.SE they boil it.",
        "There are already two questions about tea.",
        "No repeat of that one, please.",
        "That is another question.",
    ],
)
def test_each_reference_to_the_site_or_other_answers_is_found(answer):
    assert style.reference(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "The answer is 42, in response to your question.",
        "Too deep a recursion ends in a stack overflow.",
        "The second edition: a classic.",
        "Edit the file: open it first.",
        "Write to bob@example.com.",
        "An op-amp, or OP amp, amplifies.",
        "`@Override` marks it, and `# see the comments above` says why.",
        "> as mentioned in other answers",
        "Comment out the line.",
        "Whether it tastes good is another question entirely.",
        "It is already answered by the question itself.",
    ],
)
def test_what_is_no_reference_is_left(answer):
    assert style.reference(answer) is None


@pytest.mark.parametrize(
    "answer",
    [
        "See the picture below.",
        "The image above shows it.",
        "It can be found here.",
        "You can find a talk on it here.",
        "Follow this link.",
        "See these instructions.",
        "Read the article linked, then stir.",
        "Malt, dried. (Image: Maltsters' Guild)",
        "For more details and pictures, see Malting at Home.",
        "For further information check out the brewers' handbook.",
        "A longer explanation can be read at the Brewers' Page.",
        "That is all.\n\nSee also:\n\n- Malting at Home",
        "That is all.\n\nsee\n\n- Malting at Home",
        "Here are the strongest ones:",
        "> A quotation.\n\nAlso;",
    ],
)
def test_pointers_to_what_was_cut_are_found(answer):
    assert style.missing(answer)
    assert style.missing("The image of a set under a function is a set.") is None


@pytest.mark.parametrize(
    "answer",
    [
        "Run this:\n\n```\nmalt --dry\n```",
        "They say:\n\n> Dry it.",
        "For more foam, pour higher and see it rise.",
        "Wild yeast can be found in the air.",
        "References\n\n- A. Brewer, On Malt, 1901",
        "You see: it works.",
    ],
)
def test_what_announces_something_that_is_there_is_left(answer):
    assert style.missing(answer) is None


def test_the_quoted_share_counts_the_characters_of_quoted_lines():
    # "> abcd" 6, a line break 1, "efg" 3: 6 of 10
    assert prose.quoted_share("> abcd\nefg") == 0.6
    assert prose.quoted_share("```\n> x\n```") < 0.5
    assert prose.quoted_share("") == 0


@pytest.mark.parametrize(
    "formula", ["$a$", "$$a$$", r"\(a\)", r"\[a\]", r"\begin{align}a\end{align}", "`a`", "```\na\n```"]
)
def test_without_code_every_other_character_stays_where_it_was(formula):
    shown = prose.without_code(f"so {formula} on")
    assert shown == f"so {''.join(' ' if sign != chr(10) else sign for sign in formula)} on"


def test_a_fence_that_is_never_closed_hides_the_rest_and_longer_fences_hold_shorter_ones():
    assert prose.said("a\n```\nI") == "a\n "
    assert prose.said("````\n```\nI\n````\nb").strip() == "b"


@pytest.mark.parametrize("code", ["    malt --dry\n    stir", "\tmalt --dry", "  \tmalt --dry"])
def test_the_indentation_of_code_stays_at_the_head_of_a_text_and_other_blanks_go(code):
    assert prose.trimmed(f"\n \t\n{code}\n\nThen rest. \n") == f"{code}\n\nThen rest."
    assert prose.trimmed("\n   Then rest.\n\n    malt\n") == "Then rest.\n\n    malt"
    assert prose.trimmed(" \n\t") == prose.trimmed("") == ""
