"""Small tokenizers of the kinds that base models have, trained on a few lines of text."""

import json

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

CORPUS = [
    "Why is the sky blue? Air scatters blue light most.",
    "the end of the text is here",
    "print('a')\n\n    b = 1",
]
CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_level() -> PreTrainedTokenizerFast:
    """As Qwen and SmolLM2: byte-level BPE, ChatML's special tokens, and tokens that are added but not special."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|endoftext|>")
    tokenizer.add_special_tokens({"extra_special_tokens": CHATML[1:]})
    tokenizer.add_tokens([AddedToken(text, special=False) for text in ("<|fim_prefix|>", "<think>", "    ")])
    tokenizer.chat_template = "{% for m in messages %}{{ '<think>' }}    {{ m['content'] }}{% endfor %}"
    return tokenizer


def llama(*, prefix: str) -> PreTrainedTokenizerFast:
    """As Llama 2: BPE over ▁ with a byte for what it does not know, BOS before each text; `prefix` places the ▁."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if prefix == "normalizer":
        bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    bpe.decoder = decoders.Sequence(parts)
    rows = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    bpe.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=340, special_tokens=rows, show_progress=False))
    ends = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    learned = json.loads(bpe.to_str())["model"]
    merges = [tuple(pair) for pair in learned["merges"]]
    # bytes are ordinary tokens: only the first three are marked special
    plain = Tokenizer(models.BPE(learned["vocab"], merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    plain.decoder = bpe.decoder
    if bpe.normalizer:
        plain.normalizer = bpe.normalizer
    if bpe.pre_tokenizer:
        plain.pre_tokenizer = bpe.pre_tokenizer
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, **ends)
    first = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.backend_tokenizer.post_processor = first
    return tokenizer


def python_bytes() -> ByT5Tokenizer:
    """Not backed by the tokenizers library: transformers encodes it in Python."""
    return ByT5Tokenizer(extra_ids=0)


ALL = {
    "byte-level BPE": byte_level,
    "Llama, ▁ by its normalizer": lambda: llama(prefix="normalizer"),
    "Llama, ▁ by its pre-tokenizer": lambda: llama(prefix="pre-tokenizer"),
    "bytes in Python": python_bytes,
}
