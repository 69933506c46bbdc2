import json
from pathlib import Path

import pytest

from lima import config, jsonl
from lima.parallel.jobs import Started
from lima.records import Candidate, Dropped
from lima.sources.base import Scraped
from lima.stages import scrape

GOOD = (
    '<row Id="{}" PostTypeId="1" Score="3" Title="t" Body="b" CreationDate="2020-01-01" Tags="|a|" OwnerUserId="7" />'
)
ANSWER = '<row Id="{}" PostTypeId="2" ParentId="{}" Score="3" Body="b" CreationDate="2020-01-01" OwnerUserId="8" />'
OUT = Path("data/scrape/stack_exchange_stem")


@pytest.fixture
def dump(tmp_path, monkeypatch):
    """A checkout whose dump has a hundred rows, of which the stage lets two be bad."""
    text = Path("params.yaml").read_text()
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(text)
    path = Path(config.load().sources["stack_exchange_stem"].dumps) / "beer/Posts.xml"
    path.parent.mkdir(parents=True)
    return path


def write(dump: Path, *, bad: int) -> None:
    """Questions and an answer to each, as far as the hundred rows go."""
    good = range(100 - bad)
    rows = [ANSWER.format(n, n - 1) if n % 2 else GOOD.format(n) for n in good] + ["<row cut in ha"] * bad
    dump.write_text("\n".join(["<posts>", *rows, "</posts>"]))


def test_the_limit_in_params_is_the_one_these_tests_reckon_with(dump):
    assert config.load().scrape.max_bad_share == 0.02


def test_every_row_is_a_candidate_or_dropped_with_its_place_and_the_counts_add_up(dump, capsys):
    write(dump, bad=2)
    scrape.main("stack_exchange_stem")
    candidates = list(jsonl.read(OUT / "candidates.jsonl", Candidate))
    dropped = list(jsonl.read(OUT / "dropped.jsonl", Dropped))
    assert [record.place for record in dropped] == [f"{dump}:100", f"{dump}:101"]
    assert {record.raw for record in dropped} == {"<row cut in ha"}
    counts = Scraped.model_validate_json((OUT / "stats.json").read_text())
    assert counts.candidates == len(candidates) == 49
    assert (counts.rows, counts.questions, counts.answers, counts.dropped) == (100, 49, 49, {"bad_row": 2})
    assert capsys.readouterr().out == "stack_exchange_stem: 100 rows, 49 candidates, 2 bad rows\n"


def test_what_filter_would_drop_for_its_votes_is_no_candidate(dump):
    values = Path("params.yaml").read_text().replace("unfiltered_reservoir: 2000", "unfiltered_reservoir: 10")
    Path("params.yaml").write_text(values)
    write(dump, bad=0)
    scrape.main("stack_exchange_stem")
    counts = Scraped.model_validate_json((OUT / "stats.json").read_text())
    # 50 questions, each with an answer of 3 votes where 10 are asked for; ten of them stay for the unfiltered
    assert (counts.candidates, counts.dropped) == (10, {"low_response_score": 40})


def test_the_largest_part_begins_first_and_the_result_is_in_the_order_of_the_dumps(dump):
    for size, name in enumerate(("apple", "beer", "cider"), start=1):
        path = dump.parents[1] / name / "Posts.xml"
        path.parent.mkdir(exist_ok=True)
        rows = [row for n in range(size) for row in (GOOD.format(2 * n), ANSWER.format(2 * n + 1, 2 * n))]
        path.write_text("\n".join(["<posts>", *rows, "</posts>"]))
    jobs = scrape.plan("stack_exchange_stem", config.load())
    begun = [jobs[event.job].part.name for event in scrape.run(jobs, config.load()) if isinstance(event, Started)]
    assert begun == ["cider/Posts.xml", "beer/Posts.xml", "apple/Posts.xml"]
    scrape.main("stack_exchange_stem")
    sites = [candidate.provenance.site for candidate in jsonl.read(OUT / "candidates.jsonl", Candidate)]
    assert sites == ["apple", "beer", "beer", "cider", "cider", "cider"]


def test_too_many_bad_rows_stop_the_stage_and_leave_the_older_result(dump):
    write(dump, bad=0)
    scrape.main("stack_exchange_stem")
    write(dump, bad=7)
    with pytest.raises(scrape.ScrapeError) as error:
        scrape.main("stack_exchange_stem")
    told = str(error.value)
    assert "7 of 100 rows cannot be read (7.0%), more than scrape.max_bad_share 2.0%" in told
    assert [line.split(": ")[0] for line in told.split("\n")[1:-1]] == [f"  {dump}:{n}" for n in range(95, 100)]
    assert "`lima inspect DUMP` shows the format), or raise scrape.max_bad_share" in told
    listed = Path(told.split("all of them are in ")[1].split(";")[0])
    assert listed.read_text().count('"reason":"bad_row"') == 7
    assert json.loads((OUT / "stats.json").read_text())["candidates"] == 50


def test_a_dump_that_cannot_be_read_leaves_no_result(dump):
    dump.write_text("")
    with pytest.raises(scrape.ScrapeError, match="no posts in"):
        scrape.main("stack_exchange_stem")
    assert not OUT.exists()


def test_an_unknown_source_is_told_which_there_are(dump):
    with pytest.raises(config.ParamsError, match=r"unknown source: 'usenet'; params\.yaml has stack_exchange_stem, "):
        scrape.main("usenet")


def test_of_reddits_dumps_only_the_subreddits_that_the_filter_looks_at_are_read(dump):
    path = Path(config.load().sources["reddit"].dumps) / "any.ndjson"
    path.parent.mkdir(parents=True)
    rows = [{"id": f"s{n}", "title": "t", "subreddit": name} for n, name in enumerate(["AskReddit", *["pics"] * 3])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scrape.main("reddit")
    counts = Scraped.model_validate_json(Path("data/scrape/reddit/stats.json").read_text())
    assert (counts.rows, counts.candidates, counts.dropped) == (4, 1, {"other_subreddit": 3})  # told in one record
    (left_out,) = jsonl.read(Path("data/scrape/reddit/dropped.jsonl"), Dropped)
    assert left_out.rows == 3


@pytest.fixture
def folders(dump):
    """A source of two files of one name, in different folders."""
    values = Path("params.yaml").read_text()
    begin, end = values.index("  wikihow: {reader"), values.index("  reddit: {reader")
    entry = "  wikihow:\n    reader: alpaca\n    dumps: dumps\n    license: CC0\n"
    Path("params.yaml").write_text(values[:begin] + entry + values[end:])
    for name, rows in {"a": ["How is rye bread made?", "Why?"], "b": ["How are spelt rolls made?"]}.items():
        Path(f"dumps/{name}").mkdir(parents=True)
        text = json.dumps([{"instruction": row, "input": "", "output": f"So, {row}"} for row in rows])
        Path(f"dumps/{name}/train.json").write_text(text)


def scraped() -> list[Candidate]:
    scrape.main("wikihow")
    return list(jsonl.read(Path("data/scrape/wikihow/candidates.jsonl"), Candidate))


def test_files_that_share_a_name_in_different_folders_keep_all_their_rows(folders):
    assert [candidate.provenance.id for candidate in scraped()] == ["a/train-0", "a/train-1", "b/train-0"]
    assert list(jsonl.read(Path("data/scrape/wikihow/dropped.jsonl"), Dropped)) == []


def test_author_and_address_come_from_the_sources_entry_and_never_from_the_layout(folders):
    unknown = {(row.provenance.author, row.provenance.url, row.provenance.license) for row in scraped()}
    assert unknown == {("an unnamed user", "", "CC0")}
    values = Path("params.yaml").read_text()
    entry = "    license: CC0\n    author: Ada\n    url: https://example.com/set\n"
    Path("params.yaml").write_text(values.replace("    license: CC0\n", entry))
    credited = {(row.provenance.author, row.provenance.url) for row in scraped()}
    assert credited == {("Ada", "https://example.com/set")}
