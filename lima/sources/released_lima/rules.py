"""Rules for the released LIMA set: conversations are used unchanged."""

from lima.curation.conversations import outcomes, unfiltered

__all__ = ["outcomes", "unfiltered"]
