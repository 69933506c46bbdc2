import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.records import Candidate, Dropped
from lima.sources import registry
from lima.sources.base import DumpError, ReadStats
from lima.sources.natural_instructions import reader

REALDATA = Path(__file__).parents[2] / "../shared/realdata"

PUBLISHED = {
    "Contributors": ["Ada", "Grace"],
    "Source": ["tea"],
    "URL": ["https://example.org/tea; https://example.org/more"],
    "Categories": ["Summarization", "Paraphrasing"],
    "Definition": ["Say it shorter."],
    "Output_language": ["English"],
    "Positive Examples": [{"input": "i", "output": "o", "explanation": "e"}],
    "Instances": [{"id": "task1-aa", "input": "A long tale.", "output": ["A tale.", "Tale."]}],
    "Instance License": ["CC BY 4.0", "GFDL"],
}
OLDER = {
    "Contributors": ["Ada"],
    "Categories": ["Summarization"],
    "Definition": "Say it shorter.",
    "Instances": [{"input": "A long tale.", "output": "A tale."}, {"input": "Another.", "output": ["One."]}],
}


def read(dumps: Path) -> tuple[list[Candidate | Dropped], ReadStats]:
    tally = ReadStats()
    rows = reader.read(dumps, source="natural_instructions", license="Apache-2.0", tally=tally)
    return list(rows), tally


def reads(folder: Path, task: object) -> tuple[list[Candidate | Dropped], ReadStats]:
    (folder / "task1_tea.json").write_text(json.dumps(task))
    return read(folder)


def test_an_instance_is_a_candidate_with_its_tasks_categories_license_and_authors(tmp_path):
    (row,), tally = reads(tmp_path, PUBLISHED)
    assert isinstance(row, Candidate)
    assert row.id == "natural_instructions/task1_tea/task1-aa"
    assert (row.title, row.description, row.response) == ("Say it shorter.", "A long tale.", "A tale.")
    assert row.tags == (
        *("category:Summarization", "category:Paraphrasing", "language:English"),
        *("license:CC BY 4.0", "license:GFDL"),
    )
    about = row.provenance
    assert (about.site, about.id, about.author) == ("task1_tea", "task1-aa", "Ada; Grace")
    assert (about.license, about.url) == ("CC BY 4.0; GFDL", "https://example.org/tea")
    assert tally == ReadStats(rows=1, questions=1, answers=1)


def test_the_older_layout_reads_alike_and_numbers_its_instances(tmp_path):
    rows, _ = reads(tmp_path, OLDER)
    assert [(row.id, row.title, row.response) for row in rows] == [
        ("natural_instructions/task1_tea/task1_tea-0", "Say it shorter.", "A tale."),
        ("natural_instructions/task1_tea/task1_tea-1", "Say it shorter.", "One."),
    ]
    assert rows[0].tags == ("category:Summarization",)
    assert rows[0].provenance.license == "Apache-2.0"
    tasks = "https://github.com/allenai/natural-instructions/blob/master/tasks"
    assert rows[0].provenance.url == f"{tasks}/task1_tea.json"
    assert rows[0].provenance.digest != rows[1].provenance.digest


def test_a_license_that_the_task_calls_unknown_is_the_collections(tmp_path):
    (row,), _ = reads(tmp_path, PUBLISHED | {"Instance License": ["Unknown"]})
    assert row.provenance.license == "Apache-2.0"
    assert not [tag for tag in row.tags if tag.startswith("license:")]


@pytest.mark.parametrize(
    ("instance", "detail"),
    [
        ({"input": "i"}, "output: Field required"),
        ({"input": "i", "output": []}, "output: List should have at least 1 item"),
        ({"id": True, "input": "i", "output": ["o"]}, "id: Input should be a valid string, not True"),
        ({"input": 7, "output": ["o"]}, "input: Input should be a valid string, not 7"),
        ("text", "Input should be a valid dictionary"),
    ],
)
def test_a_bad_instance_is_kept_with_its_place_and_the_rest_goes_on(tmp_path, instance, detail):
    (good, bad, last), tally = reads(
        tmp_path, OLDER | {"Instances": [OLDER["Instances"][0], instance, OLDER["Instances"][1]]}
    )
    assert isinstance(good, Candidate)
    assert isinstance(last, Candidate)
    assert (bad.reason, bad.place) == ("bad_row", f"{tmp_path}/task1_tea.json:Instances[1]")
    assert bad.detail.startswith(detail)
    assert json.loads(bad.raw) == instance
    assert tally == ReadStats(rows=3, questions=2, answers=2)


def test_an_id_that_is_a_number_is_an_id(tmp_path):
    instances = [{"id": number, "input": "i", "output": "o"} for number in (0, 7, 1.5)]
    rows, _ = reads(tmp_path, OLDER | {"Instances": instances})
    assert [row.id for row in rows] == [f"natural_instructions/task1_tea/{number}" for number in ("0", "7", "1.5")]


@pytest.mark.parametrize(
    "given_input", [{"input": None}, {}, {"input": "<noinput>"}, {"input": " <NoInput>\n"}], ids=str
)
def test_an_input_that_is_null_missing_or_noinput_is_empty(tmp_path, given_input):
    (row,), _ = reads(tmp_path, OLDER | {"Instances": [given_input | {"output": "o"}]})
    assert (row.description, row.response) == ("", "o")


def test_tasks_of_the_same_name_in_different_folders_have_different_ids(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "task1_tea.json").write_text(json.dumps(OLDER))
    rows, _ = read(tmp_path)
    assert [row.id for row in rows] == [
        f"natural_instructions/{folder}/task1_tea/task1_tea-{number}" for folder in ("a", "b") for number in (0, 1)
    ]
    by_task = [
        row
        for piece in reader.pieces(tmp_path)
        for row in registry.reader("natural_instructions", root=tmp_path)(
            piece.dump, source="natural_instructions", license="Apache-2.0", tally=ReadStats()
        )
    ]
    assert by_task == rows  # `scrape` reads task by task
    urls = {row.provenance.url for row in rows}
    assert urls == {"https://github.com/allenai/natural-instructions/blob/master/tasks/task1_tea.json"}


def test_an_output_without_text_is_no_answer(tmp_path):
    (row,), tally = reads(tmp_path, OLDER | {"Instances": [{"input": "A tale.", "output": ""}]})
    assert row.response == ""
    assert tally == ReadStats(rows=1, questions=1, answers=0)


def test_an_instance_whose_id_came_before_is_offered_once(tmp_path):
    (_, second), _ = reads(tmp_path, PUBLISHED | {"Instances": PUBLISHED["Instances"] * 2})
    assert (second.reason, second.detail) == ("duplicate", "id task1-aa came before")


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (json.dumps(PUBLISHED)[:-40], "no task: no JSON: "),
        ("", "no task: no JSON: "),
        (json.dumps({"Instances": []}), "no task: Definition: Field required"),
        (json.dumps(OLDER | {"Instances": "none"}), "no task: Instances: Input should be a valid list, not 'none'"),
        ("[1]", "no task: Input should be a valid dictionary"),
    ],
)
def test_a_file_that_is_no_task_is_one_bad_row_and_the_other_files_are_read(tmp_path, text, detail):
    (tmp_path / "task0_broken.json").write_text(text)
    (bad, good), tally = reads(tmp_path, PUBLISHED)
    assert (bad.reason, bad.place, bad.raw) == ("bad_row", f"{tmp_path}/task0_broken.json:1", text)
    assert bad.detail.startswith(detail)
    assert isinstance(good, Candidate)
    assert tally == ReadStats(rows=2, questions=1, answers=1)


def test_a_folder_without_tasks_is_told(tmp_path):
    (tmp_path / "splits.json").write_text("{}")
    with pytest.raises(DumpError, match=r"holds no file named task\*\.json; put the tasks there"):
        read(tmp_path)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists)


@given(st.lists(st.fixed_dictionaries({}, optional={"id": JSON, "input": JSON, "output": JSON}) | JSON))
def test_every_instance_is_a_candidate_or_dropped_with_a_reason(tmp_path_factory, instances):
    path = tmp_path_factory.mktemp("any") / "task1_any.json"
    path.write_text(json.dumps(OLDER | {"Instances": instances}, allow_nan=True))
    rows, tally = read(path)
    assert len(rows) == tally.rows  # as many as there are instances, or one for a file that is no JSON (NaN, \ud800)
    assert tally.rows == len(instances) or rows[0].detail.startswith("no task: no JSON: ")


@pytest.mark.skipif(not REALDATA.exists(), reason="real tasks are not here")
@pytest.mark.parametrize("folder", ["natural_instructions", "natural_instructions_older"])
def test_every_instance_of_the_real_tasks_is_a_candidate(folder):
    paths = sorted((REALDATA / folder).glob("*.json"))
    rows, tally = read(REALDATA / folder)
    assert tally.rows == sum(len(json.loads(path.read_bytes())["Instances"]) for path in paths)
    assert len({row.id for row in rows if isinstance(row, Candidate)}) == tally.rows == tally.answers
