"""Every route that changes data refuses forged, oversized and foreign requests: judging, talking, selection, admin."""

import json
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sample_study import PLAIN, ScriptedReplies, evaluation, live, settings, study
from test_annotation_app import LOCAL, logged_in
from test_annotation_selection import checkout  # noqa: F401  a fixture

from lima import config
from lima.annotation import selection_routes
from lima.annotation.app import create

pytestmark = pytest.mark.usefixtures("checkout")
JSON = {"content-type": "application/json"}
SECRET = "a-secret-invitation-token"


@pytest.fixture
def client(tmp_path):
    rules = settings().conversations.model_dump()
    s = study(tmp_path, evaluation(2), **PLAIN, conversations=rules, max_body_kilobytes=5)
    app = create(s, open_access=True, annotations=tmp_path / "annotations", live=[live()], source=ScriptedReplies())
    selection_routes.add_routes(app, config.load(), tmp_path / "indexes")
    with TestClient(app, base_url=LOCAL, raise_server_exceptions=False) as client:
        logged_in(client)
        client.study = s
        yield client


def addresses(client):
    """The addresses of all POST routes, with the parameters of this study."""
    home = client.get("/").text
    values = {
        "conversations": re.search(r"/conversations/(\w+)", home)[1],
        "tasks": re.search(r"/tasks/(\w+)", home)[1],
    }
    for route in routes(client.app.routes):
        path = route.path.replace("{source}", "wikihow").replace("{number}", "1")
        kind = "conversations" if "/conversations/" in path else "tasks"
        yield path.replace("{slug}", values[kind]).replace("{id_}", "x").replace("{assignment}", "x")


def routes(found):
    """POST routes, those of included routers too."""
    for route in found:
        if "POST" in (getattr(route, "methods", None) or ()):
            yield route
        elif getattr(route, "original_router", None) is not None:
            yield from routes(route.original_router.routes)


def everything(client):
    """All rows and files that a request could change."""
    tables = ("judgments", "assignments", "conversations", "exchanges", "checks", "invitations", "meta", "people")
    stored = [client.study.store.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables]
    return stored, Path("reviews.jsonl").read_bytes()


FORGED = [
    ({"x-csrf-token": "wrong"}, 403),
    ({"x-csrf-token": ""}, 403),
    ({"origin": "https://evil.example"}, 403),
    ({"sec-fetch-site": "cross-site"}, 403),
    ({"content-type": "text/plain"}, 415),
    ({"content-type": "application/x-www-form-urlencoded"}, 415),
    ({"host": "evil.example"}, 400),
    ({"referer": f"{LOCAL}/join?token={SECRET}"}, 400),
]


def test_every_route_that_changes_data_refuses_forged_requests(client):
    before = everything(client)
    for headers, status in FORGED:
        refused = {}
        for address in addresses(client):
            if address == "/api/session" and "x-csrf-token" in headers:
                continue  # opens the session to which the token belongs
            reply = client.post(address, content="{}", headers={**JSON, **headers})
            refused[address] = reply.status_code
            assert SECRET not in reply.text
        assert refused == dict.fromkeys(refused, status) and len(refused) >= 15, headers
    assert everything(client) == before


def test_every_route_that_changes_data_refuses_requests_without_a_session(client):
    before, known = everything(client), [address for address in addresses(client) if address != "/api/session"]
    for cookies in ({}, {"annotation_session": "guessed"}):
        client.cookies.clear()
        client.cookies.update(cookies)
        refused = {address: client.post(address, content="{}", headers=JSON).status_code for address in known}
        assert refused == dict.fromkeys(refused, 401) and len(refused) >= 15
    assert everything(client) == before


def test_every_route_refuses_a_body_above_the_limit(client):
    body = json.dumps({"text": "x" * 6000}).encode()
    for chunked in (False, True):
        refused = {}
        for address in addresses(client):
            content = iter([body[:3000], body[3000:]]) if chunked else body
            refused[address] = client.post(address, content=content, headers=JSON).status_code
        assert refused == dict.fromkeys(refused, 413) and len(refused) >= 15


def test_a_body_of_another_form_is_refused_without_an_exception(client):
    for address in addresses(client):
        for body in ("[]", '{"conversation": 1}', '{"x": "' + "y" * 300 + '"}', "{", "null"):
            status = client.post(address, content=body, headers=JSON).status_code
            assert status in (401, 403, 404, 422) or (address == "/api/log-out" and status == 200), (address, body)
