"""Hand selection: the index of candidates, decisions on disk, and their effect on the stage filter."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from ruamel.yaml import YAML
from sample_study import PLAIN, evaluation, study
from test_annotation_app import LOCAL, logged_in

from lima import config, jsonl
from lima.annotation import selection, selection_routes
from lima.annotation.app import create
from lima.curation.reviews import Review, content_digest
from lima.records import Candidate, Dropped, Example, Provenance
from lima.stages import filter as stage

LAPTOP = Path(__file__).parents[2] / "lima/config/profiles/laptop.yaml"
SOURCE = "wikihow"


def candidate(number: int, *, site="Food", words=300, title=None) -> Candidate:
    place = Provenance(
        source=SOURCE, site=site, id=str(number), url="https://example.org", author="ann", license="MIT", digest="0"
    )
    text = f"Step {number}. " + f"Stir the pot number{number} slowly and wait. " * (words // 8)
    return Candidate(
        id=f"{SOURCE}/{site}/{number}",
        title=title or f"How to Make Soup {number}",
        description="",
        response=text,
        later_turns=(),
        markup="markdown",
        score=None,
        response_score=None,
        tags=(),
        provenance=place,
    )


CANDIDATES = [
    candidate(1, words=900),
    candidate(2, words=200),
    candidate(3, site="Garden", words=400, title="How to Plant <b>Peas</b>"),
    candidate(4, words=40),  # too short
]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yaml = YAML()
    values = yaml.load(LAPTOP)
    values["filter"] |= {"edits": "edits.jsonl", "reviews": "reviews.jsonl"}
    yaml.dump(values, Path("params.yaml"))
    Path("edits.jsonl").touch()
    Path("reviews.jsonl").touch()
    jsonl.write(Path(f"data/scrape/{SOURCE}/candidates.jsonl"), CANDIDATES)
    stage.main(SOURCE)


@pytest.fixture
def client(checkout, tmp_path):
    s = study(tmp_path, evaluation(1), **PLAIN)
    app = create(s, open_access=True, annotations=tmp_path / "annotations")
    selection_routes.add_routes(app, config.load(), tmp_path / "indexes")
    client = logged_in(TestClient(app, base_url=LOCAL))
    client.study = s
    return client


API = f"/api/selection/{SOURCE}"


def listed(client, **query):
    reply = client.get(f"{API}/candidates", params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()["candidates"]


def ids(rows):
    return [row["title"][-1] if row["site"] == "Food" else row["site"] for row in rows]


def by_title(client, title, **query):
    return next(row["number"] for row in listed(client, **query) if title in row["title"])


def test_facets_count_kept_and_dropped_candidates(client):
    facets = client.get(API).json()
    assert facets["status"] == [["kept", 3], ["too_short", 1]]
    assert facets["site"] == [["Food", 3], ["Garden", 1]]


def test_the_queue_alternates_sites_and_begins_with_the_most_uncertain(client):
    # soup 2 is closer to the minimum length than soup 1; the first of each site precedes the second of any
    order = ids(listed(client))
    assert set(order[:2]) == {"2", "Garden"} and order[2] == "1"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"text": "peas"}, ["Garden"]),
        ({"text": "pea"}, ["Garden"]),
        ({"text": 'soup "OR" AND ('}, []),
        ({"text": "number1 stir"}, ["1"]),
        ({"site": "Garden"}, ["Garden"]),
        ({"status": "too_short"}, ["4"]),
        ({"min_length": 5000}, []),
    ],
    ids=str,
)
def test_filters_and_search(client, query, expected):
    assert ids(listed(client, **query)) == expected


def test_a_site_alternates_topics_and_each_begins_with_the_most_uncertain(checkout, tmp_path):
    """Lengths 160, 200, 240 and 280 words; the shortest is closest to the minimum. Topics a, a, b, b."""
    topics = {160: "a", 200: "a", 240: "b", 280: "b"}
    rows = [candidate(words, words=words).model_copy(update={"tags": (topic, "z")}) for words, topic in topics.items()]
    jsonl.write(Path(f"data/scrape/{SOURCE}/candidates.jsonl"), rows)
    stage.main(SOURCE)
    queue, _ = selection.build(config.load(), SOURCE, tmp_path).search(selection.Query(), [], most=9)
    assert [row["id"].rpartition("/")[2] for row in queue] == ["160", "240", "200", "280"]


def test_decisions_of_another_program_are_read(client):
    client.post(f"{API}/candidates/{by_title(client, 'Peas')}", json={"decision": "accept", "seconds": 1.0})
    assert len(listed(client)) == 2
    Path("reviews.jsonl").write_text("\n")  # for example git checkout
    assert len(listed(client)) == 3


def test_a_rejection_is_on_disk_and_the_stage_applies_it(client):
    number = by_title(client, "Peas")
    assert client.post(f"{API}/candidates/{number}", json={"decision": "reject", "seconds": 2}).status_code == 422
    body = {"decision": "reject", "reason": "style", "seconds": 2.0}
    assert client.post(f"{API}/candidates/{number}", json=body).json() == {"saved": True, "decided": 1, "pace": 1800.0}
    (review,) = jsonl.read(Path("reviews.jsonl"), Review)
    assert (review.decision, review.person, review.digest) == ("reject", "ann", content_digest(CANDIDATES[2]))
    assert "Garden" not in ids(listed(client)) and "Garden" in ids(listed(client, reviewed=True))
    stage.main(SOURCE)
    dropped = {d.place: (d.reason, d.detail) for d in jsonl.read(Path(f"data/filter/{SOURCE}/dropped.jsonl"), Dropped)}
    assert dropped[CANDIDATES[2].id] == ("rejected_by_hand", "style")


def test_an_edit_and_an_accepted_dropped_candidate_become_examples(client):
    edited = {"decision": "accept", "prompt": "How do I make soup?", "response": "Stir the pot. " * 60, "seconds": 9.0}
    assert client.post(f"{API}/candidates/{by_title(client, 'Soup 1')}", json=edited).status_code == 200
    short = by_title(client, "Soup 4", status="too_short")
    assert client.post(f"{API}/candidates/{short}", json={"decision": "accept", "seconds": 1.0}).status_code == 200
    plain = by_title(client, "Soup 2")
    assert client.post(f"{API}/candidates/{plain}", json={"decision": "accept", "seconds": 1.0}).status_code == 200
    stage.main(SOURCE)
    kept = {example.id: example for example in jsonl.read(Path(f"data/filter/{SOURCE}/kept.jsonl"), Example)}
    assert kept[CANDIDATES[0].id].messages[0].content == "How do I make soup?"
    assert CANDIDATES[3].id in kept
    stored = {review.id: review for review in jsonl.read(Path("reviews.jsonl"), Review)}
    assert stored[CANDIDATES[1].id].prompt is None  # accepted unchanged: no copy of the texts


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("Store it cold. " * 100, None),
        ("Store it cold. " * 100 + "In my opinion that is enough.", "first_person"),
        ("Store it cold. " * 100 + "As the other answer says, that is enough.", "refers_to_site"),
        ("Store it cold.", "too_short"),
        ("Store it cold. " * 400, "too_long"),
    ],
)
def test_edited_texts_are_read_by_the_rules_of_the_source(checkout, response, expected):
    params = config.load()
    source = next(name for name, entry in params.sources.items() if entry.reader == "stack_exchange")
    row = {"id": "s/site/1", "site": "site", "title": "How is it stored?", "score": 0}
    broken = selection.broken_rule(params, source, {**row, "score": 20}, prompt="How?", response=response)
    assert (broken and broken.reason) == expected
    # votes are not a matter of the text
    unpopular = selection.broken_rule(params, source, row, prompt="How?", response=response)
    assert unpopular is None or unpopular.reason == expected


def test_undo_deletes_the_decision(client):
    number = by_title(client, "Peas")
    client.post(f"{API}/candidates/{number}", json={"decision": "accept", "seconds": 1.0})
    assert client.post(f"{API}/candidates/{number}/undo", json={}).json() == {"undone": True}
    assert client.post(f"{API}/candidates/{number}/undo", json={}).json() == {"undone": False}
    assert Path("reviews.jsonl").read_text() == "\n"


def test_texts_are_rendered_without_html(client):
    shown = client.get(f"{API}/candidates/{by_title(client, 'Peas')}").json()
    assert "<b>" not in shown["prompt_html"] and "<p>" in shown["response_html"]


def test_only_administrators_select(client):
    s = client.study
    app = create(s, open_access=False, annotations=Path("annotations"))
    selection_routes.add_routes(app, config.load(), Path("indexes"))
    person = logged_in(TestClient(app, base_url=LOCAL), token=s.store.invite("person"))
    assert person.get("/selection").status_code == 403
    assert person.get(API).status_code == 403
    assert person.post(f"{API}/candidates/1", json={"decision": "accept", "seconds": 1.0}).status_code == 403


def test_the_index_is_rebuilt_when_the_stage_ran_again(checkout, tmp_path):
    params = config.load()
    assert selection.build(params, SOURCE, tmp_path).search(selection.Query(), [], most=2)[1] == 3
    jsonl.write(Path(f"data/scrape/{SOURCE}/candidates.jsonl"), CANDIDATES[:1])
    stage.main(SOURCE)
    assert selection.build(params, SOURCE, tmp_path).search(selection.Query(), [], most=2)[1] == 1
