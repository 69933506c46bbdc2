"""Rules for chat data sets: conversations are used unchanged."""

from lima.curation.conversations import outcomes, unfiltered

__all__ = ["outcomes", "unfiltered"]
