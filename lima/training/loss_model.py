"""A causal language model that gives its loss instead of its logits."""

from typing import Any

import torch

from lima.training import fused_loss
from lima.training.packing import Batch
from lima.training.tokenization import IGNORED


class LossModel(torch.nn.Module):
    """The model with its loss as one module, so that whatever shards or casts a module's forward covers both."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        fused_loss.fuse_output_head(model)
        self.model = model

    def forward(self, batch: Batch) -> torch.Tensor:
        """Nats over the batch's supervised tokens; logits are computed only at the places that predict one."""
        device = self.model.device
        labels = batch.labels[0]
        # a token is predicted one place before it; an example's first token is the user's, so none predicts a
        # neighbour's
        places = (labels[1:] != IGNORED).nonzero().squeeze(1)
        hidden = self.model.base_model(
            input_ids=batch.ids.to(device),
            position_ids=batch.positions.to(device),
            lengths=batch.lengths,
            use_cache=False,
        ).last_hidden_state  # (1, tokens, width)
        nats: torch.Tensor = self.model.get_output_embeddings()(
            hidden[0, places.to(device)], labels[places + 1].to(device)
        )
        return nats
