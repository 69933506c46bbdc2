"""Attribution of each example, as share-alike licenses require (LIMA §2).

CC BY-SA requires author, address, license and title of every work, and a note on changes. The table has one row per
example: first train.jsonl in its order, then held_out.jsonl.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lima.display import visible_line
from lima.records import Credit, Example

UNKNOWN = "unknown"
# written by readers if the source does not give the name
NAMELESS = re.compile(r"\A\s*\Z|\[(?:deleted|removed)\]|\ban unnamed user\b")
# changes between the source's text and the example, by reader
CHANGES = {
    "stack_exchange": "made Markdown; links' targets, images and scripts cut; the title or the description asks",
    "wikihow": "made Markdown; title and opening reworded as question and answer; links, images and sections cut",
    "reddit": "tags of the title, edits and notes to readers cut",
    "natural_instructions": "one instance of the task; its definition and input set as one prompt",
    "authored": "none; what has an address was edited, from there, into a dialogue",
    "adversarial": "none",
    "released_lima": "none",
    "alpaca": "instruction and input set as one prompt",
    "chat": "an instruction and its input set as one prompt; footnote marks of Dolly's contexts cut",
}
CREATIVE_COMMONS = re.compile(r"CC (BY(?:-NC)?(?:-ND|-SA)?) (\d\.\d)")
OTHER_LICENSES = {
    "MIT": "https://opensource.org/license/mit",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
}
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # Unicode category Cc
FORMULA = tuple("=+-@'")  # first characters of spreadsheet formulas, and the escape character itself


def credits(
    splits: Mapping[str, Sequence[Example]], *, titles: Mapping[str, str], readers: Mapping[str, str]
) -> Iterator[Credit]:
    """One credit per example; `titles` by example id, `readers` by source."""
    for split, examples in splits.items():
        for example in examples:
            origin = example.provenance
            fields = {"author": origin.author, "address": origin.url, "license": origin.license}
            yield Credit(
                split=split,
                id=example.id,
                source=origin.source,
                site=origin.site,
                title=titles[example.id],
                **{name: NAMELESS.sub(UNKNOWN, text) for name, text in fields.items()},
                license_address=license_address(origin.license),
                changes=CHANGES.get(readers[origin.source], UNKNOWN),
                missing=", ".join(name for name, text in fields.items() if NAMELESS.search(text)),
            )


def license_address(license: str) -> str:
    """URLs of the licenses' texts, separated by spaces: two for "CC BY-SA 3.0 (question), CC BY-SA 4.0 (answer)"."""
    versions = dict.fromkeys(CREATIVE_COMMONS.findall(license))
    addresses = [f"https://creativecommons.org/licenses/{kind.lower()}/{version}/" for kind, version in versions]
    return " ".join(addresses) or OTHER_LICENSES.get(license.strip(), "")


def to_csv(credits: Iterable[Credit]) -> str:
    """CSV with one line per credit. Control characters are replaced or escaped, spreadsheet formulas are escaped."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(Credit.model_fields)
    rows.writerows([_cell(str(value)) for _, value in credit] for credit in credits)
    return out.getvalue()


def from_csv(text: str) -> list[Credit]:
    """The credits of `to_csv` in their order; texts, also ids, are on one line."""
    rows = csv.DictReader(io.StringIO(text))
    return [Credit.model_validate({name: value.removeprefix("'") for name, value in row.items()}) for row in rows]


def _cell(text: str) -> str:
    """The text on one line, prefixed with `'` if it starts like a spreadsheet formula or with `'`."""
    line = " ".join(CONTROL.sub(" ", text).split())
    line = visible_line(line)  # bidirectional controls
    return f"'{line}" if line.startswith(FORMULA) else line
