import dataclasses

import pytest
import tiny_model
import torch

from lima.inference import likelihood, model
from lima.records import Prompt, Provenance, Response, Turn

PLACE = Provenance(source="authored", site="B", id="1", url="", author="ann", license="MIT", digest="0")
PROMPT = Prompt(id="p", messages=(Turn(role="user", content="Why?"),), tags=(), provenance=PLACE)


def response(text, prompt_id="p"):
    return Response(prompt_id=prompt_id, contestant="authors", sample=0, text=text, finish="stop", tokens=None)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return model.load(tiny_model.save(tmp_path_factory.mktemp("tiny")), precision="fp32")


def scored(checkpoint, *texts, max_tokens=200):
    return list(likelihood.score(checkpoint, [PROMPT], [response(text) for text in texts], max_tokens=max_tokens))


def test_the_likelihood_is_the_product_of_the_probabilities_of_the_tokens(checkpoint):
    given = model.render(checkpoint.tokenizer, PROMPT)
    (result,) = scored(checkpoint, "Yes")
    total, ids = 0.0, list(given)
    for token in checkpoint.tokenizer("Yes").input_ids:  # one step at a time, without `logits_to_keep`
        with torch.inference_mode():
            logits = checkpoint.model(torch.tensor([ids])).logits[0, -1]
        total += float(torch.log_softmax(logits, 0)[token])
        ids.append(token)
    assert result.log_likelihood == pytest.approx(total, rel=1e-5)
    assert (result.tokens, result.truncated) == (3, False)
    assert result.per_token == pytest.approx(total / 3, rel=1e-5)


def test_a_long_answer_is_truncated_and_says_so(checkpoint):
    (whole,), (cut,) = scored(checkpoint, "Yes"), scored(checkpoint, "Yes, but", max_tokens=3)
    assert (cut.tokens, cut.truncated) == (3, True)
    assert cut.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-5)


def test_an_answer_is_truncated_at_the_context_or_left_out(checkpoint):
    given = len(model.render(checkpoint.tokenizer, PROMPT))
    (cut,) = scored(dataclasses.replace(checkpoint, context=given + 3), "Yes, but")
    assert (cut.tokens, cut.truncated) == (3, True)
    assert scored(dataclasses.replace(checkpoint, context=given), "Yes") == []


def test_empty_answers_and_those_to_other_prompts_are_left_out(checkpoint):
    assert scored(checkpoint, "") == []
    assert list(likelihood.score(checkpoint, [PROMPT], [response("Yes", "other")], max_tokens=99)) == []
