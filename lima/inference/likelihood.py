"""Log-likelihood that a model assigns to recorded answers, for a comparison of contestants that needs no judge."""

from collections.abc import Iterator, Sequence

import torch

from lima.inference.model import Checkpoint, bos_ids, render
from lima.records import AnswerLikelihood, Prompt, Response


@torch.inference_mode()
def score(
    checkpoint: Checkpoint, prompts: Sequence[Prompt], responses: Sequence[Response], *, max_tokens: int
) -> Iterator[AnswerLikelihood]:
    """Score answers one at a time, in their order; those to other prompts and empty ones are left out.

    Args:
        max_tokens: of an answer; later ones are not scored. The limit does not depend on the prompt's tokens, so that
            models with one tokenizer and different chat templates score the same part of an answer. An answer that
            does not fit into the context is truncated too, and one whose prompt leaves no room is left out.
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    skipped = len(bos_ids(checkpoint.tokenizer))
    for response in responses:
        if response.prompt_id not in by_id:
            continue
        given = render(checkpoint.tokenizer, by_id[response.prompt_id])
        answer = checkpoint.tokenizer(response.text).input_ids[skipped:]
        scored = answer[: max(0, min(max_tokens, checkpoint.context - len(given)))]
        if not scored:
            continue
        ids = torch.tensor([[*given, *scored]], device=checkpoint.model.device)
        logits = checkpoint.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            position_ids=torch.arange(ids.shape[1], device=ids.device)[None],
            past_key_values=None,
            logits_to_keep=len(scored) + 1,
        ).logits[0, :-1]  # (scored, vocabulary); the last position predicts the token after the answer
        losses = torch.nn.functional.cross_entropy(logits.float(), ids[0, -len(scored) :], reduction="sum")
        yield AnswerLikelihood(
            prompt_id=response.prompt_id,
            sample=response.sample,
            log_likelihood=-float(losses),
            tokens=len(scored),
            truncated=len(scored) < len(answer),
        )
