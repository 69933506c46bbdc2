"""The web application over HTTP: judging, blinding, sessions, refused requests, safe rendering."""

import json
import re

import pytest
from fastapi.testclient import TestClient
from sample_study import NAMES, PLAIN, evaluation, study

from lima import jsonl
from lima.annotation import markdown
from lima.annotation.app import create
from lima.annotation.questions import CONTROLS
from lima.annotation.study import write_annotations
from lima.records import Annotation

LOCAL = "http://127.0.0.1:8765"


@pytest.fixture
def opened(tmp_path):
    """Make a study with its application; the clients of an application have cookies of their own."""

    def make(*evaluations, open_access=True, **changes):
        s = study(tmp_path, *evaluations, **{**PLAIN, **changes})
        app = create(s, open_access=open_access, annotations=tmp_path / "annotations")
        return s, lambda: TestClient(app, base_url=LOCAL, raise_server_exceptions=False)

    return make


def logged_in(client, **login):
    """Open a session and send its CSRF token with each request."""
    reply = client.post("/api/session", json=login or {"pseudonym": "ann"})
    assert reply.status_code == 200, reply.text
    page = client.get("/").text
    client.headers["x-csrf-token"] = re.search(r'name="csrf" content="(\w+)"', page)[1]
    return client


def submission(item, value="first", **changes):
    base = {"assignment": item["assignment"], "version": item["version"], "request": f"r-{item['assignment']}"}
    return {**base, "value": value, "seconds": 3.5, **changes}


def slug(s, number=0):
    return list(s.slugs)[number]


def test_judging_until_the_end_writes_every_annotation(opened, tmp_path):
    s, client = opened(evaluation(3))
    api = f"/api/tasks/{slug(s)}"
    with client() as c:
        state = logged_in(c).get(api).json()
        while state["status"] == "item":
            reply = c.post(f"{api}/judgments", json=submission(state["item"])).json()
            assert reply["saved"]
            state = reply["next"]
        assert state["progress"] == {"judged": 3, "available": 3}
    records = list(jsonl.read(tmp_path / "annotations/secret-evaluation.jsonl", Annotation))
    assert len(records) == 3 and all(record.person == "ann" for record in records)


def test_the_answers_are_shown_in_the_recorded_order(opened):
    s, client = opened(evaluation(8))
    c = logged_in(client())
    api = f"/api/tasks/{slug(s)}"
    state, better = c.get(api).json(), []
    while state["status"] == "item":
        better.append("First text" in state["item"]["answers"][0]["html"])  # the contestant's text
        state = c.post(f"{api}/judgments", json=submission(state["item"], "first")).json()["next"]
    assert [r.value for r in s.annotations("secret-evaluation")] == ["win" if own else "lose" for own in better]
    assert set(better) == {True, False}


def test_no_byte_of_any_response_names_a_contestant_or_an_evaluation(opened):
    s, client = opened(*(evaluation(4, task=task, name=f"secret-{task}") for task in CONTROLS))
    secrets = [name.encode() for name in (*NAMES, *s.evaluations)]
    seen = []

    def checked(reply):
        everything = b"\n".join([str(reply.url).encode(), str(reply.headers).encode(), reply.content])
        assert [name for name in secrets if name in everything] == []
        seen.append(reply)
        return reply

    c = logged_in(client())
    for path in ("/", "/join", "/static/judge.js", "/static/pages.js", "/static/api.js", "/static/style.css"):
        checked(c.get(path))
    for name in s.slugs:
        checked(c.get(f"/tasks/{name}"))
        state = checked(c.get(f"/api/tasks/{name}")).json()
        value = CONTROLS[s.slugs[name].task].choices[0].value
        while state["status"] == "item":
            sent = submission(state["item"], value)
            state = checked(c.post(f"/api/tasks/{name}/judgments", json=sent)).json()["next"]
            checked(c.get(f"/api/tasks/{name}/items/{sent['assignment']}/previous"))
        checked(c.get(f"/api/tasks/{name}/items/end/previous"))
        checked(c.post(f"/api/tasks/{name}/judgments", json=submission({"assignment": "x", "version": 0})))
    assert len(seen) > 60 and all(reply.status_code < 500 for reply in seen)


def test_the_comprehension_check_precedes_the_first_item(opened):
    s, client = opened(evaluation(3), comprehension=True)
    c = logged_in(client())
    api = f"/api/tasks/{slug(s)}"
    state = c.get(api).json()
    assert (state["status"], len(state["cases"])) == ("check", 3)
    assert c.post(f"{api}/check", json={"answers": ["first", "tie"]}).json() == {"wrong": [0, 2], "next": None}
    assert c.post(f"{api}/check", json={"answers": ["second", "tie", "first"]}).json()["next"]["status"] == "item"
    assert s.store.check(s.store.person("ann"), "pairwise") == (2, True)


def test_an_attention_check_states_the_expected_choice(opened):
    s, client = opened(evaluation(30), attention_every=2)
    c = logged_in(client())
    api = f"/api/tasks/{slug(s)}"
    state, expected = c.get(api).json(), []
    for _ in range(6):
        text = state["item"]["answers"][-1]["html"]
        asked = re.search(r"checks your attention.*choose “(Answer \d)”", text)
        value = {"Answer 1": "first", "Answer 2": "second"}[asked[1]] if asked else "tie"
        expected.append(value if asked else None)
        state = c.post(f"{api}/judgments", json=submission(state["item"], value)).json()["next"]
    records = s.annotations("secret-evaluation")
    assert [r.reason for r in records] == [f"expected {value}" if value else "" for value in expected]
    assert {r.kind for r in records} == {"main", "attention"}


def test_undo_shows_the_previous_judgment_and_revises_it(opened):
    s, client = opened(evaluation(3, task="grade"))
    c = logged_in(client())
    api = f"/api/tasks/{slug(s)}"
    first = c.get(api).json()["item"]
    second = c.post(f"{api}/judgments", json=submission(first, "fail", comment="no")).json()["next"]["item"]
    earlier = c.get(f"{api}/items/{second['assignment']}/previous").json()["item"]
    assert earlier["saved"] == {"value": "fail", "reason": "", "comment": "no"}
    reply = c.post(f"{api}/judgments", json=submission(earlier, "pass", request="a-revision")).json()
    assert reply["next"]["item"]["assignment"] == second["assignment"]
    assert [r.value for r in s.annotations("secret-evaluation")] == ["pass"]


def test_a_double_click_saves_once_and_a_stale_tab_is_refused(opened):
    s, client = opened(evaluation(3))
    c = logged_in(client())
    api = f"/api/tasks/{slug(s)}"
    item = c.get(api).json()["item"]
    replies = [c.post(f"{api}/judgments", json=submission(item)) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 200]
    stale = c.post(f"{api}/judgments", json=submission(item, "second", request="other-tab"))
    assert stale.status_code == 409 and "already judged" in stale.json()["error"]
    assert len(s.annotations("secret-evaluation")) == 1


def test_another_persons_item_cannot_be_judged_or_read(opened):
    s, client = opened(evaluation(3))
    ann, bob = logged_in(client()), logged_in(client(), pseudonym="bob")
    api = f"/api/tasks/{slug(s)}"
    item = ann.get(api).json()["item"]
    assert bob.post(f"{api}/judgments", json=submission(item)).status_code == 422
    assert bob.get(f"{api}/items/{item['assignment']}/previous").status_code == 422
    assert s.annotations("secret-evaluation") == []


# --- sessions and refused requests ---


def test_beyond_loopback_a_session_needs_an_invitation(opened):
    s, client = opened(evaluation(2), open_access=False)
    assert client().post("/api/session", json={"pseudonym": "ann"}).status_code == 403
    assert client().post("/api/session", json={"token": "guess"}).status_code == 403
    token = s.store.invite("person")
    c = logged_in(client(), token=token)
    assert c.get(f"/api/tasks/{slug(s)}").status_code == 200
    again = logged_in(client(), token=token)  # the same link on another device is the same person
    names = {re.search(r'class="person"[^>]*>([^<]+)<', x.get("/").text)[1] for x in (c, again)}
    assert names == {"person-1"}


def test_the_database_holds_no_usable_token(opened, tmp_path):
    s, client = opened(evaluation(2), open_access=False)
    token = s.store.invite("person")
    c = logged_in(client(), token=token)
    s.store.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    stored = (tmp_path / "study.sqlite").read_bytes()
    assert token.encode() not in stored and c.cookies["annotation_session"].encode() not in stored


def test_a_token_in_an_address_is_refused_and_no_referrer_is_sent(opened):
    s, client = opened(evaluation(2), open_access=False)
    reply = client().get(f"/join?token={s.store.invite('person')}")
    assert reply.status_code == 400 and "query" in reply.json()["error"]
    assert reply.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-csrf-token": "wrong"}, 403),
        ({"x-csrf-token": ""}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"host": "evil.example"}, 400),
        ({"cookie": ""}, 401),
    ],
    ids=str,
)
def test_forged_requests_are_refused(opened, headers, status):
    s, client = opened(evaluation(2))
    c = logged_in(client())
    api = f"/api/tasks/{slug(s)}"
    item = c.get(api).json()["item"]
    if "cookie" in headers:
        c.cookies.clear()
    body = json.dumps(submission(item))
    reply = c.post(f"{api}/judgments", content=body, headers={"content-type": "application/json", **headers})
    assert reply.status_code == status and reply.json()["error"]
    assert s.annotations("secret-evaluation") == []


@pytest.mark.parametrize("chunked", [False, True])
def test_an_oversized_body_is_refused(opened, chunked):
    s, client = opened(evaluation(2), max_body_kilobytes=5)
    c = logged_in(client())
    body = json.dumps(submission({"assignment": "x", "version": 0}, comment="x" * 6000)).encode()
    content = iter([body[:3000], body[3000:]]) if chunked else body
    reply = c.post(f"/api/tasks/{slug(s)}/judgments", content=content, headers={"content-type": "application/json"})
    assert reply.status_code == 413


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/tasks/..%2f.."]
)
def test_paths_outside_of_the_static_files_are_refused(opened, path):
    _, client = opened(evaluation(2))
    reply = client().get(path)
    assert reply.status_code in (404, 405) or "<title>Welcome" in reply.text
    assert b"FastAPI" not in reply.content


def test_the_content_policy_allows_only_own_files(opened):
    _, client = opened(evaluation(2))
    for path in ("/", "/join", "/api/tasks/x", "/static/judge.js", "/nothing"):
        policy = client().get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy


def test_a_pseudonym_is_a_plain_name(opened):
    _, client = opened(evaluation(2))
    for name in ("", "a b", "<b>", "x" * 33, "ann@example.org"):
        assert client().post("/api/session", json={"pseudonym": name}).status_code == 422


def test_withdrawal_deletes_the_lines_before_it_is_confirmed(opened, tmp_path):
    s, client = opened(evaluation(2))
    c = logged_in(client())
    api = f"/api/tasks/{slug(s)}"
    c.post(f"{api}/judgments", json=submission(c.get(api).json()["item"]))
    write_annotations(s, tmp_path / "annotations")
    assert (tmp_path / "annotations/secret-evaluation.jsonl").read_text().count("ann") == 1
    assert c.post("/api/withdraw", json={"confirm": True}).json() == {"deleted": 1}
    assert c.get(api).status_code == 401
    assert (tmp_path / "annotations/secret-evaluation.jsonl").read_text() == "\n"


# --- rendering of hostile texts ---

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](https://evil.example/pixel.png)",
    "[click](javascript:alert(1))",
    "[click](data:text/html,<script>alert(1)</script>)",
    "<a href='javascript:alert(1)'>x</a>",
    '```"><img src=x onerror=alert(1)>\ncode\n```',
    "```html\n<script>alert(1)</script>\n```",
    "$\\text{<script>alert(1)</script>}$",
    "$\\text{&#x3C;script&#x3E;alert(1)}$",
    "$\\href{javascript:alert(1)}{x}$",
    "$\\style{background:url(https://evil.example)}{x}$",
    "$$<img src=x onerror=alert(1)>$$",
    "[x]: javascript:alert(1)\n[x]",
    "<svg/onload=alert(1)>",
    "\u202egnp.exe",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_become_harmless_html(text):
    from lxml import html

    tree = html.fragment_fromstring(markdown.to_html(text), create_parent="div")
    for node in tree.iter():
        assert node.tag not in ("script", "img", "iframe", "svg", "style", "link", "form", "object")
        assert not [name for name in node.attrib if name.startswith("on") or name in ("style", "src")]
        assert node.get("href", "https:").startswith(("https:", "http:", "mailto:"))
    assert "\u202e" not in tree.text_content()


def test_code_is_highlighted_and_formulas_are_mathml():
    assert '<span class="k">def</span>' in markdown.to_html("```python\ndef f(): pass\n```")
    assert "<msup>" in markdown.to_html("the square $x^2$")
    assert "<mfrac>" in markdown.to_html("\\[ \\frac{1}{2} \\]")
    assert markdown.to_html("costs $5 and $10") == "<p>costs $5 and $10</p>\n"
    assert "<code>\\frac{</code>" in markdown.to_html("$\\frac{$")


# --- administration ---


def test_only_administrators_see_and_change_the_administration(opened):
    s, client = opened(evaluation(2), open_access=False, pilot=1)
    person = logged_in(client(), token=s.store.invite("person"))
    boss = logged_in(client(), token=s.store.invite("admin", "boss"))
    assert person.get("/admin").status_code == 403 and "secret-evaluation" not in person.get("/admin").text
    assert person.post("/api/admin/invitations", json={"number": 1}).status_code == 403
    assert person.post("/api/admin/end-pilot", json={"confirm": True}).status_code == 403
    assert "secret-evaluation" in boss.get("/admin").text
    (token,) = boss.post("/api/admin/invitations", json={"number": 1}).json()["tokens"]
    assert "person-2" in logged_in(client(), token=token).get("/").text
    boss.post("/api/admin/end-pilot", json={"confirm": True})
    assert s.phase == "main"


def test_only_administrators_adjudicate(opened):
    s, client = opened(evaluation(2), open_access=False)
    person = logged_in(client(), token=s.store.invite("person"))
    boss = logged_in(client(), token=s.store.invite("admin", "boss"))
    for path in ("/api/adjudications/", "/api/admin/agreement/"):
        assert person.get(path + slug(s)).status_code == 403
    assert boss.get("/api/adjudications/" + slug(s)).json()["status"] == "finished"
    assert boss.get("/api/admin/agreement/" + slug(s)).json()["rows"] == []


def test_the_administration_counts_items_by_judgments(opened):
    s, client = opened(evaluation(3))
    c = logged_in(client())
    api = f"/api/tasks/{slug(s)}"
    c.post(f"{api}/judgments", json=submission(c.get(api).json()["item"]))
    text = re.sub(r"<[^>]+>", "", c.get("/admin").text)
    assert "2 items with 0 judgments" in text and "1 items with 1 judgment" in text
