"""Who wrote each example, where it stands and under which licence: what share-alike licences ask for (LIMA §2).

CC BY-SA wants author, address, licence and title of every work, and a word on what was changed. A line an example:
those of train.jsonl first, in its order, then those of held_out.jsonl.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lima.records import Credit, Example

UNKNOWN = "unknown"
# what readers write where a community does not tell the name
NAMELESS = re.compile(r"\A\s*\Z|\[(?:deleted|removed)\]|\ban unnamed user\b")
# what happened to a text between its source and its example, by reader
CHANGES = {
    "stack_exchange": "made Markdown; links' targets, images and scripts cut; the title or the description asks",
    "wikihow": "made Markdown; title and opening reworded as question and answer; links, images and sections cut",
    "reddit": "tags of the title, edits and notes to readers cut",
    "natural_instructions": "one instance of the task; its definition and input set as one prompt",
    "authored": "none; what has an address was edited, from there, into a dialogue",
    "suite": "none",
    "lima": "none",
    "alpaca": "instruction and input set as one prompt",
    "chat": "an instruction and its input set as one prompt; footnote marks of Dolly's contexts cut",
}
CREATIVE_COMMONS = re.compile(r"CC (BY(?:-NC)?(?:-ND|-SA)?) (\d\.\d)")
OTHER_LICENCES = {
    "MIT": "https://opensource.org/license/mit",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
}
FORMULA = tuple("=+-@'")  # what a spreadsheet would run, and the sign that keeps it from doing so


def credits(
    splits: Mapping[str, Sequence[Example]], *, titles: Mapping[str, str], readers: Mapping[str, str]
) -> Iterator[Credit]:
    """A credit an example; `titles` by example, `readers` by source."""
    for split, examples in splits.items():
        for example in examples:
            origin = example.provenance
            told = {"author": origin.author, "address": origin.url, "licence": origin.licence}
            yield Credit(
                split=split,
                id=example.id,
                source=origin.source,
                site=origin.site,
                title=titles[example.id],
                **{name: NAMELESS.sub(UNKNOWN, text) for name, text in told.items()},
                licence_address=licence_address(origin.licence),
                changes=CHANGES.get(readers[origin.source], UNKNOWN),
                missing=", ".join(name for name, text in told.items() if NAMELESS.search(text)),
            )


def licence_address(licence: str) -> str:
    """Where the licence can be read; of "CC BY-SA 3.0 (question), CC BY-SA 4.0 (answer)", both."""
    found = dict.fromkeys(CREATIVE_COMMONS.findall(licence))
    addresses = [f"https://creativecommons.org/licenses/{kind.lower()}/{version}/" for kind, version in found]
    return " ".join(addresses) or OTHER_LICENCES.get(licence.strip(), "")


def table(found: Iterable[Credit]) -> str:
    """As CSV, a credit a line whatever its texts hold: no cell breaks the line, none is a spreadsheet's formula."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(Credit.model_fields)
    rows.writerows([_cell(str(value)) for _, value in credit] for credit in found)
    return out.getvalue()


def _cell(text: str) -> str:
    """On one line; with `'` before what a spreadsheet would take for a formula, and before that sign itself."""
    line = " ".join("".join(" " if unicodedata.category(sign) == "Cc" else sign for sign in text).split())
    return f"'{line}" if line.startswith(FORMULA) else line
