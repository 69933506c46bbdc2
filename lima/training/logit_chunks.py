"""Size of the chunks of tokens in which the fused loss computes logits."""

from math import ceil

FP32 = 4  # bytes
CHUNK_BYTES = 96 * 2**20  # of a chunk of fp32 logits: smaller chunks are slower, larger ones only need memory
ALIGNED = 8  # tokens


def chunk_tokens(tokens: int, *, vocabulary: int) -> int:
    """Tokens of a chunk, a multiple of ALIGNED.

    Chunks are as few as CHUNK_BYTES allow, and equal except the last.
    """
    most = max(CHUNK_BYTES // (FP32 * vocabulary * ALIGNED), 1)
    groups = max(ceil(tokens / ALIGNED), 1)
    return ceil(groups / ceil(groups / most)) * ALIGNED
