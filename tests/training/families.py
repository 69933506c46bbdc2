"""Two-layer models of each supported family, with random weights."""

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


OPT = {"hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "word_embed_proj_dim": 16}
MAMBA2 = {"hidden_size": 16, "num_hidden_layers": 2, "num_heads": 8, "head_dim": 4, "state_size": 8, "n_groups": 1}
MOE = {"moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2}
# Further architectures: exact, exact only without residual dropout, or refused.
EXACT, WITHOUT_DROPOUT, REFUSED = "exact", "exact without residual dropout", "refused"
MORE = {
    "smollm3": (TINY, EXACT),
    "olmo": (TINY, EXACT),
    "olmo2": (TINY, EXACT),
    "olmo3": (TINY | {"sliding_window": 64}, EXACT),
    "phi3": (TINY, EXACT),
    "starcoder2": (TINY, EXACT),
    "glm4": (TINY, EXACT),
    "ministral": (TINY | {"sliding_window": 64}, EXACT),
    "helium": (TINY, EXACT),
    "ernie4_5": (TINY, EXACT),
    "hunyuan_v1_dense": (TINY, EXACT),
    "exaone4": (TINY | {"sliding_window": 64, "sliding_window_pattern": 2}, EXACT),
    "apertus": (TINY, EXACT),
    "seed_oss": (TINY, EXACT),
    "mixtral": (TINY, EXACT),
    "qwen3_moe": (TINY | MOE, EXACT),
    "arcee": (TINY, EXACT),
    "vaultgemma": (TINY | {"sliding_window": 64}, EXACT),
    "bitnet": (TINY, EXACT),
    "gpt_neo": (
        {"hidden_size": 16, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
        EXACT,
    ),
    "gpt_neox": (TINY, WITHOUT_DROPOUT),
    "opt": (OPT, WITHOUT_DROPOUT),
    "phi": (TINY, REFUSED),  # a bias in its output head
    "bloom": ({"hidden_size": 16, "n_layer": 2, "n_head": 4}, REFUSED),  # from here on, packed examples mix
    "falcon": ({"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}, REFUSED),
    "lfm2": (TINY | {"full_attn_idxs": [1]}, REFUSED),
    "mamba2": (MAMBA2, REFUSED),
    "minimax": (TINY | {"num_local_experts": 4}, REFUSED),
}


def build(family: str, recipe, *, wide: float = 0.3):
    """A model of the family, prepared for training; `wide` weights make attention visible in the logits."""
    settings = {"initializer_range": wide, **ENDS, **FAMILIES[family]}
    torch.manual_seed(3)
    config = AutoConfig.for_model(settings.pop("model_type", family), **settings)
    model = AutoModelForCausalLM.from_config(config)
    launch.configure_for_training(model, recipe)
    return model
