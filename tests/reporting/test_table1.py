from lima.records import Example, Prompt, Provenance, Turn
from lima.reporting import table1


def origin(source: str, site: str) -> Provenance:
    return Provenance(source=source, site=site, id="1", url="", author="", license="", digest="")


def example(source: str, prompt: str, response: str) -> Example:
    turns = (Turn(role="user", content=prompt), Turn(role="assistant", content=response))
    return Example(id="1", messages=turns, tags=(), provenance=origin(source, "a"))


def words(texts):
    return [len(text.split()) for text in texts]


def test_rows_are_means_by_source_in_the_papers_order_with_the_papers_values():
    examples = [
        example("authored", "one", "one two"),
        example("wikihow", "one two", "one two three"),
        example("wikihow", "one two three four", "one"),
    ]
    wikihow, authored = table1.of_arm("lima", examples, follows_paper=True, count=words)
    # prompts of 2 and 4 words, responses of 3 and 1
    assert (wikihow.examples, wikihow.prompt_tokens, wikihow.response_tokens) == (2, 3, 2)
    assert (wikihow.paper.examples, wikihow.paper.prompt_tokens, wikihow.paper.response_tokens) == (200, 12, 1811)
    assert (authored.split, authored.source, authored.examples) == ("train · lima", "authored", 1)


def test_an_arm_that_does_not_follow_the_paper_has_no_values_of_the_paper():
    (row,) = table1.of_arm("unfiltered", [example("wikihow", "a", "b")], follows_paper=False, count=words)
    assert row.paper is None


def test_prompts_are_grouped_by_site_and_have_no_response():
    turns = (Turn(role="user", content="a b"), Turn(role="assistant", content="c"), Turn(role="user", content="d"))
    prompt = Prompt(id="1", messages=turns, tags=(), provenance=origin("reddit", "AskReddit"))
    (row,) = table1.of_prompts("test", [prompt], count=words)
    assert (row.source, row.prompt_tokens, row.response_tokens) == ("reddit/AskReddit", 3, None)
    assert row.paper.examples == 70
