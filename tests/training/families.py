"""Two-layer models of each family that the recipe knows, with random weights."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lima.training import launch

TINY = {
    "vocab_size": 60,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 128,
}
GPT2 = {"vocab_size": 60, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 128}
ENDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
FAMILIES = {
    "llama": TINY,
    "mistral": TINY | {"sliding_window": 64},
    "mistral, its window shorter than the examples": TINY | {"model_type": "mistral", "sliding_window": 3},
    "qwen2": TINY,
    "qwen3": TINY,
    "gemma": TINY,
    "gemma2": TINY | {"sliding_window": 64},
    "gemma3_text": TINY | {"sliding_window": 64},
    "gpt2": GPT2,
    "granite": TINY | {"logits_scaling": 8.0, "embedding_multiplier": 12.0, "attention_multiplier": 0.1},
    "hyperclovax": TINY | {"logits_scaling": 0.25},
    "stablelm": TINY,
    "nemotron": TINY,
    "gpt_oss": TINY | {"num_local_experts": 4, "sliding_window": 64},
    "gpt_oss, its window shorter than the examples": TINY
    | {"model_type": "gpt_oss", "num_local_experts": 4, "sliding_window": 3},
    "cohere": TINY | {"logit_scale": 0.0625},
    "cohere2": TINY | {"logit_scale": 0.25, "sliding_window": 64},
}


def build(family: str, recipe, *, wide: float = 0.3):
    """The family's model, made ready for training as a base model is; `wide` weights show what a token attends to."""
    settings = {"initializer_range": wide, **ENDS, **FAMILIES[family]}
    torch.manual_seed(3)
    config = AutoConfig.for_model(settings.pop("model_type", family), **settings)
    model = AutoModelForCausalLM.from_config(config)
    launch.for_training(model, recipe)
    return model
