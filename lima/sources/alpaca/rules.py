"""Rules for the released Alpaca set: conversations are used unchanged."""

from lima.curation.conversations import outcomes, unfiltered

__all__ = ["outcomes", "unfiltered"]
