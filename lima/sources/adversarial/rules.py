"""Rules for adversarial prompts: conversations are used unchanged."""

from lima.curation.conversations import outcomes, unfiltered

__all__ = ["outcomes", "unfiltered"]
