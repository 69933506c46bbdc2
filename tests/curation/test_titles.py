"""The paper: questions "that are self-contained in the title". Most titles here were asked by people."""

import pytest

from lima.curation.titles import lacks


@pytest.mark.parametrize(
    ("title", "lack"),
    [
        ("What is this sediment from my wine?", "demonstrative: 'this'"),
        ("Why does my NN not classify these tic tac toe pattern correctly?", "demonstrative: 'these'"),
        ("Is that a bug in the compiler?", "demonstrative: 'Is that'"),
        ("How do I get rid of that thing?", "demonstrative: 'that thing'"),
        ("What is the point of that?", "demonstrative: 'of that?'"),
        (
            "How to test if my implementation of back propagation is correct",
            "the asker's own work: 'my implementation'",
        ),
        ("What's wrong with my C code?", "the asker's own work: 'my C code'"),
        ("What's name of the cognac in the below Armenian photo?", "part of the body: 'the below'"),
        ("How do I solve the following equation?", "part of the body: 'the following'"),
        ("Which one should a beginner buy?", "a choice not listed: 'Which one'"),
        ("What's the difference?", 'a choice not listed: "What\'s the difference?"'),
        ("Rounding floats, part 2", "an earlier question: 'part 2'"),
        ("Why is it called porter?", "a pronoun without antecedent: 'it'"),
        ("How do they get beer so strong?", "a pronoun without antecedent: 'they'"),
        ("Why doesn't it work?", "a pronoun without antecedent: 'it'"),
        ("Unusual solutions", "a fragment: 'Unusual solutions'"),
        ("", "a fragment: ''"),
        ("How do I sort a list in Python? [closed]", "marked [closed]"),
        ("How do I sort a list in Python? (duplicate)", "marked (duplicate)"),
    ],
)
def test_a_title_that_needs_its_body_is_told_what_it_lacks(title, lack):
    assert lacks(title) == lack


@pytest.mark.parametrize(
    "title",
    [
        "How do weather models work?",
        "Why is digital photography so expensive?",
        "Why don't helicopters use reaction wheels to counter the main rotor?",
        "Is it safe to eat raw dough?",
        "Is it true that the price of diamonds is based on a monopoly?",
        "How long does it take before a beer goes flat?",
        "How much does it cost to brew beer?",
        "Why do beer bottles have their caps crimped?",
        "If a beer is frozen, does it lose carbonation?",
        "What can a beginner brew this summer?",
        "What is the word for those who brew at home?",
        'What does "this" mean in Java?',
        "What does ```class``` do in Ruby?",
        "What is that one thing a cook never eats?",
        "Which one is more natural, empty set or set of all sets?",
        "Which one of the moons of Jupiter is the largest?",
        "Why do students confuse quantifiers? How to fix this?",
        "Why does my beer taste of vinegar?",
        "Border around formatted text in Inkscape",
        "C++ vs. The Arduino Language?",
        "Layman's explanation of encryption backdoors",
        "¿Cuál es la diferencia entre echo y print en PHP?",
    ],
)
def test_a_title_that_stands_alone_lacks_nothing(title):
    assert lacks(title) is None
