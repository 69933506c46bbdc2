"""The paper: questions "that are self-contained in the title". Most titles here were asked by people."""

import pytest

from lima.curation.titles import answers_body, is_question, may_answer_body, missing_context, needs_title


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
        ("Any algorithm that does following things?", "part of the body: 'following things'"),
        ("Waiting for parts - should I leave this question open?", "demonstrative: 'this'"),
        ("Beer - which ones keep?", "a choice not listed: 'which ones'"),
        ("Rounding floats, a follow up", "an earlier question: 'follow up'"),
        ("Rounding floats, part 2", "an earlier question: 'part 2'"),
        ("Why is it called porter?", "a pronoun without antecedent: 'it'"),
        ("How do they ferment in winter?", "a pronoun without antecedent: 'they'"),
        ("How do they make it?", "a pronoun without antecedent: 'they'"),
        ("Why doesn't it work?", "a pronoun without antecedent: 'it'"),
        ("Unusual solutions", "a fragment: 'Unusual solutions'"),
        ("", "a fragment: ''"),
        ("How do I sort a list in Python? [closed]", "marked [closed]"),
        ("How do I sort a list in Python? (duplicate)", "marked (duplicate)"),
    ],
)
def test_missing_context_of_a_title_is_named(title, lack):
    assert missing_context(title) == lack


@pytest.mark.parametrize(
    "title",
    [
        "How do weather models work?",
        "A bottle without a label - is this safe to drink?",
        "Can there be a reason to close name-this-bottle threads?",
        "If a brewer goes to fairs or festivals, which ones are best?",
        "How do I follow up on the results of a fermentation?",
        "Is following a recipe important?",
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
        "How do they get beer so strong?",
        '"We passed that course!" How to answer this?',
        "What is this process of adding hops called?",
        "Do cooks still use bitters? Which ones?",
        "Does it exist, a beer without foam?",
        "Why is it a ginger ale and not a ginger wine?",
        "What do they judge at beer competitions?",
        "How to tell which tequila is for drinks and which one is not",
        "Can one make a Thing, and then many instances of that Thing?",
        "C++ vs. The Arduino Language?",
        "Layman's explanation of encryption backdoors",
        "¿Cuál es la diferencia entre echo y print en PHP?",
    ],
)
def test_self_contained_title_has_no_missing_context(title):
    assert missing_context(title) is None


@pytest.mark.parametrize(
    "title",
    [
        "Why is beer flat?",
        "Why is beer flat",
        "Men, what do you cook when alone",
        "It boils over. What can be done about it",
        "In Python, how to sort a list",
        'What made you say "no more?"',
        "Milk: does it boil",
        "Explain yeast to a child",
        "¿Cuál es la diferencia entre la cerveza y el vino",
        "Isn’t beer vegan",
    ],
)
def test_title_is_a_question_with_or_without_question_mark(title):
    assert is_question(title)


@pytest.mark.parametrize(
    "title",
    ["Flavour components in beer", "Most effective way to freeze bottles", "Random assignment of markets", "Beer", ""],
)
def test_title_that_only_names_its_subject_is_not_a_question(title):
    assert not is_question(title)


TITLE = "Why is beer flat?"
BODY = "It tastes of iron. My friend says that all beer goes flat after a week. He keeps sour dough too."


@pytest.mark.parametrize(
    ("response", "words"),
    [
        ("> all beer goes flat after a week\n\nNo.", "all beer goes flat after a week"),
        (
            "> Well. My friend says that all beer goes flat after a week.\n\nNo.",
            "My friend says that all beer goes flat after a week.",
        ),
        ('That "all beer goes flat" is false.', '"all beer goes flat"'),
        ("> It goes flat after a month.\n\nIt does.", None),
        ('Ask "why is beer flat?" again.', None),
        ("> goes flat\n\nIt does.", None),
        ("As you mentioned, it is old.", "you mentioned"),
        ("The beer you describe is old.", "you describe"),
        ("You are right: it is old.", "You are right"),
        ("To your first point, it is old.", "your first point"),
        ("In your example it is old.", "your example"),
        ("By the rule in the question it is old.", "in the question"),
        ("Your friend is wrong.", None),
        # the body's yes-or-no question, not the title's "why"
        ("Yes, after a week.", "Yes"),
        ("The short answer is no: it is old.", "The short answer is no"),
        ("No beer goes flat in an hour.", None),
        ("Your suspicion is right: it is old.", "Your suspicion is"),
        ("You are correct that beer goes flat.", "You are correct"),
        ("As the author of that video says, it is old.", "the author of that video"),
        ("The beers which you mentioned are old.", "you mentioned"),
        ("It is older than what you have there.", "what you have there"),
        ("To answer the follow-up: it is old.", "answer the follow-up"),
        ("First question: it is old.", "First question"),
        ("Can you show us your bottle?", "Can you show us your"),
        ("It is old, in your case.", "in your case"),
        # no mention of the body
        ("Iron dissolves for you given that it is old.", None),
        ("It depends on which beer you are referring to.", None),
        ("If you ask a brewer, he will tell.", None),
        ("> my friend said nothing\n\n```\nyou mentioned\n```", None),
    ],
)
def test_response_that_quotes_or_mentions_the_body_does_not_answer_the_title_alone(response, words):
    assert answers_body(TITLE, BODY, response) == words


def test_yes_answers_a_title_that_asks_for_it():
    assert answers_body("Beer in a freezer: is it safe?", BODY, "Yes, for an hour.") is None
    assert answers_body("How do I find out whether beer is flat?", BODY, "Yes, by its foam.") is None


def test_your_question_is_no_mention_where_questions_are_the_subject():
    assert answers_body("How do I write a good question?", BODY, "Read your question aloud.") is None
    assert (
        answers_body("Can a model ask?", "It has to write questions.", "Fill the form; here is your question.") is None
    )
    assert answers_body("Can a model ask?", "My questions are two.", "Your question is hard.") == "Your question"


@pytest.mark.parametrize(
    ("description", "lacks"),
    [
        ("Is this practised commercially? The yeast is slow.", True),
        ("Why does it taste of iron?", True),
        ("Is it safe to drink flat beer?", False),
        ("What can a beginner brew this year?", False),
        ("A friend brewed a beer. Is this common?", False),
        ("This is a bottle of beer. Why is it flat?", False),
        ("Beer goes flat. Does it help to freeze it?", False),
        ("It is probably the malt.", True),  # asks nothing
        ("These two beers are alike. What sets them apart?", True),
        ("Obviously this is hypothetical, but is it true?", True),
        ("Any tips against flat beer are welcome.", False),
        ("Write a poem about beer.", False),
    ],
)
def test_description_that_begins_with_a_reference_needs_its_title(description, lacks):
    assert needs_title(description, title=TITLE, response="It is old.") is lacks


def test_description_that_does_not_name_what_the_response_is_about_needs_its_title():
    title, response = (
        "How is lambic brewed with wild yeast?",
        "Lambic is brewed in open vats, where wild yeast settles.",
    )
    # named in both: lambic, brewed, wild, yeast; the description lacks three of the four, then one
    assert needs_title("How long does the technique take at a brewery?", title=title, response=response)
    assert not needs_title("How do brewers get wild yeast into a vat?", title=title, response=response)


@pytest.mark.parametrize(
    ("response", "speaks"),
    [
        ("Your friend is wrong.", True),
        ("Your sour dough is fine.", True),
        ("This friend is wrong.", True),
        ("A friend is somebody you know. This friend is wrong.", False),  # the response names one before
        ("This beer is old.", False),
        ("Your beer is old.", False),  # the title has beer
        ("Open your fridge.", False),  # neither has one
        ("Your week begins.", False),  # no week of the asker's
        ("Use `your friend` here.", False),
    ],
)
def test_response_may_mention_what_only_the_body_names(response, speaks):
    assert may_answer_body(TITLE, BODY, response) is speaks


def test_response_that_names_an_identifier_of_the_body_may_answer_it():
    body = "It crashes:\n\n```\nstrrep(input);\n```\n\nWhat now?"
    assert may_answer_body("Why a double free?", body, "Declare `strrep` first.")
    assert not may_answer_body("Why does strrep crash?", body, "Declare `strrep` first.")
    assert not may_answer_body("Why a double free?", "What now?", "Declare `strrep` first.")


def test_quotation_of_the_title_is_not_a_quotation_of_the_body():
    assert answers_body(TITLE, f"{TITLE} {BODY}", 'So "why is beer flat?" is the question.') is None
