"""Live conversations over HTTP: exchanges, grades, pairs, failures, blinding, and what is recorded."""

import json
import re
import time

import pytest
from fastapi.testclient import TestClient
from sample_study import NAMES, OPENINGS, PLAIN, ScriptedReplies, evaluation, live, settings, study

from lima import jsonl
from lima.annotation import exchange, simulated_talk
from lima.annotation.app import create
from lima.annotation.conversations import Conversations, Pair
from lima.annotation.crowd import SimulatedPerson
from lima.annotation.reply_worker import ReplyFailed
from lima.annotation.store import StudyError, Submitted
from lima.annotation.study import import_annotations, write_annotations
from lima.evaluation import live_conversations
from lima.evaluation.dialogue_rates import count_preferences, dialogue_rates
from lima.records import Annotation

LOCAL = "http://127.0.0.1:8765"
NAME = "secret-talk"


def rules(**changes):
    return {**settings().conversations.model_dump(), **changes}


@pytest.fixture
def talk(tmp_path):
    """Open a study with one live evaluation; returns the study, a logged-in client and the address."""
    clients = []

    def make(source=None, *, pseudonym="ann", open_access=True, **changes):
        s = study(tmp_path, evaluation(1), **PLAIN, conversations=rules(**changes))
        source = source or ScriptedReplies()
        app = create(s, open_access=open_access, annotations=tmp_path / "annotations", live=[live()], source=source)
        client = TestClient(app, base_url=LOCAL, raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        log_in(client, pseudonym)
        slug = re.search(r"/conversations/(\w+)", client.get("/").text)[1]
        return s, client, f"/api/conversations/{slug}"

    yield make
    for client in clients:
        client.__exit__(None, None, None)


def log_in(client, pseudonym="ann"):
    assert client.post("/api/session", json={"pseudonym": pseudonym}).status_code == 200
    client.headers["x-csrf-token"] = re.search(r'name="csrf" content="(\w+)"', client.get("/").text)[1]


def say(client, api, text="", *, request=None):
    state = client.get(api).json()["conversation"]
    turn = len(state["exchanges"])
    body = {"conversation": state["id"], "turn": turn, "request": request or f"say-{state['id']}-{turn}", "text": text}
    return client.post(f"{api}/messages", json=body)


def answered(client, api):
    """The state after the response, from the stream of its pieces."""
    id_ = client.get(api).json()["conversation"]["id"]
    lines = [json.loads(line) for line in client.get(f"{api}/replies/{id_}").text.splitlines()]
    return lines[-1]["next"]


def grade(client, api, value="pass", *, turn=None, version=0, off_subject=False, **changes):
    state = client.get(api).json()["conversation"]
    turn = len(state["exchanges"]) - 1 if turn is None else turn
    body = {
        "conversation": state["id"],
        "turn": turn,
        "version": version,
        "request": f"grade-{state['id']}-{turn}-{version}",
        "value": value,
        "off_subject": off_subject,
        "seconds": 2.0,
    }
    return client.post(f"{api}/grades", json=body | changes)


def hold(client, api, *values, off_subject=False):
    """Hold a conversation with one grade per exchange, and end it."""
    for turn, value in enumerate(values):
        assert say(client, api, f"message {turn}").status_code == 200
        answered(client, api)
        assert grade(client, api, value, off_subject=off_subject).status_code == 200
    id_ = client.get(api).json()["conversation"]["id"]
    return client.post(f"{api}/endings", json={"conversation": id_}).json()["next"]


def prefer(client, api, value, **changes):
    pair = client.get(api).json()["pair"]
    body = {"assignment": pair["assignment"], "version": 0, "request": f"pair-{pair['assignment']}", "value": value}
    return client.post(f"{api}/preferences", json={**body, "seconds": 1.0, **changes})


def records(s):
    return s.annotations(NAME)


def test_a_pair_of_conversations_becomes_grades_and_a_preference(talk, tmp_path):
    source = ScriptedReplies()
    s, client, api = talk(source, per_person=2)
    hold(client, api, "excellent", "fail")
    state = hold(client, api, "pass", off_subject=True)
    assert state["status"] == "pair" and [len(turns) for turns in state["pair"]["conversations"]] == [4, 2]
    assert prefer(client, api, "second").json()["next"]["status"] == "finished"
    first, second = source.asked[0][0], source.asked[2][0]
    assert {first, second} == set(NAMES)
    *graded, pair = sorted(records(s), key=lambda record: record.task == "pairwise")
    assert [(r.contestant, r.turn, r.value, r.reason) for r in graded] == [
        (first, 0, "excellent", ""),
        (first, 1, "fail", ""),
        (second, 0, "pass", "off_subject"),
    ]
    assert graded[1].exchange.asked == "message 1" and graded[0].exchange.asked in OPENINGS.values()
    assert (pair.first, pair.contestant, pair.rival) == (first, *NAMES)
    assert pair.value == ("win" if second == NAMES[0] else "lose")
    # the table of section 6
    rates = dialogue_rates(live_conversations.grades(records(s), key=NAME, annotator="people"), confidence=0.95)
    assert rates[first].first_failures == {(pair.prompt_id, 0): 2} and rates[first].shares["excellent"].value == 0.5
    assert (rates[second].off_subject, rates[first].off_subject) == (1, 0)
    assert count_preferences(live_conversations.preferences(records(s), key=NAME, annotator="people")).tie == 0
    client.__exit__(None, None, None)  # the server ends: the lines are on disk
    assert list(jsonl.read(tmp_path / f"annotations/{NAME}.jsonl", Annotation)) == records(s)


def test_the_history_is_sent_with_each_message_and_markup_in_it_is_text(talk):
    source = ScriptedReplies("one", "two")
    _, client, api = talk(source)
    say(client, api)
    answered(client, api)
    grade(client, api)
    state = say(client, api, "<|im_end|><script>alert(1)</script>").json()["next"]
    answered(client, api)
    assert source.asked[1][1][1:] == ["one ", "<|im_end|><script>alert(1)</script>"]
    assert "<script>" not in state["conversation"]["exchanges"][1]["asked"]


def test_hostile_markdown_of_the_model_is_escaped_while_it_is_written_and_after(talk):
    hostile = "<img src=x onerror=alert(1)> [click](javascript:alert(1)) ![x](https://evil.example/pixel.png)"
    _, client, api = talk(ScriptedReplies(hostile, pause=0.1))
    id_ = say(client, api).json()["next"]["conversation"]["id"]
    text = client.get(f"{api}/replies/{id_}").text
    assert text.count("\n") > 2  # several states of the response
    assert not re.search(r"<img|<script|href=.{0,3}javascript", text)


def test_a_message_needs_the_grade_of_the_last_answer(talk):
    _, client, api = talk()
    say(client, api)
    answered(client, api)
    refused = say(client, api, "next")
    assert refused.status_code == 422 and "grade the last answer first" in refused.json()["error"]
    id_ = client.get(api).json()["conversation"]["id"]
    assert client.post(f"{api}/endings", json={"conversation": id_}).status_code == 422


def test_a_conversation_has_at_most_the_set_number_of_exchanges(talk):
    _, client, api = talk(exchanges=2)
    for text in ("", "more"):
        say(client, api, text)
        answered(client, api)
        grade(client, api)
    refused = say(client, api, "too much")
    assert refused.status_code == 422 and "at most 2 exchanges" in refused.json()["error"]


@pytest.mark.parametrize(
    ("failure", "shown"),
    [
        (ReplyFailed(f"{NAMES[0]}: no text for 120 s", "Timeout"), "did not answer in time"),
        (ReplyFailed(f"{NAMES[0]}: the conversation has 9 tokens", "ContextFull"), "too long for the model. End it"),
        (ReplyFailed(f"{NAMES[0]}: 500 from {NAMES[1]}", "StreamError"), "could not answer. Your message is saved"),
        (RuntimeError(NAMES[1]), "could not answer. Your message is saved"),
    ],
)
def test_a_failed_answer_is_explained_without_names_and_can_be_requested_again(talk, failure, shown):
    source = ScriptedReplies(failure, "Now it works.")
    s, client, api = talk(source)
    id_ = say(client, api).json()["next"]["conversation"]["id"]
    stream = client.get(f"{api}/replies/{id_}").text
    state = json.loads(stream.splitlines()[-1])["next"]["conversation"]
    assert shown in state["failure"] and not any(name in stream for name in NAMES)
    assert records(s) == []  # a part of an answer is not an answer
    assert client.post(f"{api}/attempts", json={"conversation": id_, "turn": 0}).status_code == 200
    answer = answered(client, api)["conversation"]["exchanges"][0]
    assert "Now it works" in answer["response"]
    assert [sample for *_, sample in source.asked] == [0, 1]  # other random numbers
    again = client.post(f"{api}/attempts", json={"conversation": id_, "turn": 0})
    assert again.status_code == 409 and len(source.asked) == 2


def test_a_message_whose_answer_a_restart_interrupted_can_be_answered(talk):
    s, client, api = talk(ScriptedReplies("never finished " * 50, pause=0.2))
    say(client, api)
    client.__exit__(None, None, None)
    s.store.close()
    _, client, api = talk(ScriptedReplies("Here it is."))
    state = client.get(api).json()["conversation"]
    assert "interrupted" in state["failure"] and not state["running"]
    client.post(f"{api}/attempts", json={"conversation": state["id"], "turn": 0})
    assert "Here it is" in answered(client, api)["conversation"]["exchanges"][0]["response"]


def test_an_answer_continues_without_a_reader(talk):
    source = ScriptedReplies("one two three", pause=0.05)
    _, client, api = talk(source)
    say(client, api)  # nobody reads the stream
    deadline = time.monotonic() + 60
    while client.get(api).json()["conversation"]["running"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "one two three" in client.get(api).json()["conversation"]["exchanges"][0]["response"]
    assert len(source.asked) == 1


def test_a_repeated_request_changes_nothing_and_a_stale_tab_is_refused(talk):
    source = ScriptedReplies()
    s, client, api = talk(source)
    body = {"conversation": client.get(api).json()["conversation"]["id"], "turn": 0, "request": "same-request"}
    replies = [client.post(f"{api}/messages", json=body) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 200]
    stale = client.post(f"{api}/messages", json=body | {"request": "other-tab"})
    assert stale.status_code == 409 and "another tab" in stale.json()["error"]
    answered(client, api)
    assert len(source.asked) == 1
    assert [grade(client, api).status_code for _ in range(2)] == [200, 200]
    assert grade(client, api, "fail", request="other-tab").status_code == 409
    assert [record.value for record in records(s)] == ["pass"]


def test_a_grade_can_be_changed(talk):
    s, client, api = talk()
    say(client, api)
    answered(client, api)
    grade(client, api, "fail")
    grade(client, api, "excellent", turn=0, version=1)
    assert [record.value for record in records(s)] == ["excellent"]


def test_another_persons_conversation_cannot_be_read_or_continued(talk):
    _, ann, api = talk()
    say(ann, api)
    answered(ann, api)
    id_ = ann.get(api).json()["conversation"]["id"]
    ann.cookies.clear()
    log_in(ann, "bob")
    assert ann.get(f"{api}/replies/{id_}").status_code == 422
    body = {"conversation": id_, "turn": 1, "request": "bobs-request", "text": "x"}
    assert ann.post(f"{api}/messages", json=body).status_code == 422
    graded = {"conversation": id_, "turn": 0, "version": 0, "request": "bobs-grade", "value": "pass"}
    assert ann.post(f"{api}/grades", json={**graded, "off_subject": False, "seconds": 1}).status_code == 422
    assert ann.post(f"{api}/endings", json={"conversation": id_}).status_code == 422


def test_requests_without_csrf_token_or_session_are_refused(talk):
    _, client, api = talk()
    body = {"conversation": client.get(api).json()["conversation"]["id"], "turn": 0, "request": "a-request"}
    client.headers["x-csrf-token"] = "wrong"
    assert client.post(f"{api}/messages", json=body).status_code == 403
    client.cookies.clear()
    assert client.get(api).status_code == 401


def test_no_byte_of_a_conversation_names_a_contestant_or_the_evaluation(talk):
    """Every response of the server while two pairs are held, with a failure in between."""
    source = ScriptedReplies("fine", ReplyFailed(f"{NAMES[0]} at http://{NAMES[1]}.example", "StreamError"))
    _, client, api = talk(source, per_person=2)
    seen = []
    send = client.send

    def checked(request, **options):
        reply = send(request, **options)
        everything = b"\n".join([str(reply.url).encode(), str(reply.headers).encode(), reply.read()])
        names = [name for name in (*NAMES, NAME) if name.encode() in everything]
        seen.append((request.url.path, names))
        return reply

    client.send = checked
    client.get("/")
    client.get(api.removeprefix("/api"))
    for path in ("conversation.js", "check.js", "dom.js", "clock.js"):
        assert client.get(f"/static/{path}").status_code == 200
    hold_with_failure(client, api)
    hold(client, api, "pass", "fail")
    prefer(client, api, None, reason="unclear")
    client.get(f"{api}/replies/unknown")
    assert [entry for entry in seen if entry[1]] == [] and len(seen) > 30


def hold_with_failure(client, api):
    hold_first = say(client, api).json()["next"]["conversation"]["id"]
    answered(client, api)
    grade(client, api)
    say(client, api, "second")
    assert answered(client, api)["conversation"]["failure"]
    client.post(f"{api}/attempts", json={"conversation": hold_first, "turn": 1})
    answered(client, api)
    grade(client, api, "excellent")
    client.post(f"{api}/endings", json={"conversation": hold_first})


def test_the_comprehension_check_precedes_the_first_conversation(talk, tmp_path):
    s, client, api = talk()
    s.settings = settings(comprehension=True)
    state = client.get(api).json()
    assert (state["status"], len(state["cases"])) == ("check", 2)
    assert client.post(f"{api}/check", json={"answers": ["pass", "fail"]}).json()["wrong"] == [0, 1]
    assert client.post(f"{api}/check", json={"answers": ["fail", "pass"]}).json()["next"]["status"] == "conversation"


def test_withdrawal_deletes_the_conversations(talk, tmp_path):
    s, client, api = talk()
    say(client, api)
    answered(client, api)
    grade(client, api)
    path = tmp_path / f"annotations/{NAME}.jsonl"
    write_annotations(s, path.parent)
    assert "exchange" in path.read_text()
    client.post("/api/withdraw", json={"confirm": True})
    assert s.store.rows("SELECT * FROM exchanges") == s.store.rows("SELECT * FROM conversations") == []
    assert path.read_text().strip() == ""


# --- who talks with whom ---


def held(conversations, person, target):
    """Hold every conversation without a server; returns the contestants by opening, in the order of the study."""
    order = []
    while (current := conversations.next(person, target)) is not None:
        if isinstance(current, Pair):
            given = Submitted(0, f"p-{current.assignment.id}", "tie", seconds=1.0)
            conversations.prefer(person, current.assignment, given)
            continue
        conversations.say(current, turn=0, request=f"r-{current.id}", text="")
        conversations.record_response(person, current, 0, "text")
        given = Submitted(0, f"g-{current.id}", "pass", seconds=1.0)
        conversations.grade(person, current, 0, given, off_subject=False)
        conversations.end(current)
        order.append((current.opening, current.contestant))
    return order


@pytest.mark.parametrize("paired", [True, False])
def test_each_contestant_comes_first_equally_often_for_every_opening(tmp_path, paired):
    """16 people, 3 openings: minimisation keeps the two counts of an opening equal (8 and 8)."""
    s = study(tmp_path, evaluation(1), conversations=rules(per_person=6, paired=paired))
    target = live()
    conversations = Conversations(s, [target])
    firsts = {opening: [] for opening in OPENINGS}
    orders = set()
    for number in range(16):
        order = held(conversations, s.store.person(f"person-{number}"), target)
        assert len(order) == (6 if paired else 3)
        seen = set()
        for opening, contestant in order:
            if opening not in seen:
                firsts[opening].append(contestant)
            seen.add(opening)
        orders.add(tuple(dict.fromkeys(opening for opening, _ in order)))
        if paired:
            assert all({c for o, c in order if o == opening} == set(NAMES) for opening in OPENINGS)
    counts = {opening: [names.count(name) for name in NAMES] for opening, names in firsts.items()}
    assert counts == {opening: [8, 8] for opening in OPENINGS}
    assert len(orders) > 3  # people get the openings in orders of their own


def test_a_person_holds_at_most_the_set_number_of_conversations(tmp_path):
    s = study(tmp_path, evaluation(1), conversations=rules(per_person=4))
    conversations = Conversations(s, [live()])
    ann = s.store.person("ann")
    assert conversations.progress(ann, live()).available == 4
    assert len(held(conversations, ann, live())) == 4
    assert conversations.is_finished(ann, live())


def test_conversations_held_on_another_machine_are_not_repeated(tmp_path):
    s = study(tmp_path / "a", evaluation(1), conversations=rules(per_person=6))
    order = held(Conversations(s, [live()]), s.store.person("ann"), live())
    other = study(tmp_path / "b", evaluation(1), conversations=rules(per_person=6))
    import_annotations(other, s.annotations(NAME))
    assert len(order) == 6 and Conversations(other, [live()]).next(other.store.person("ann"), live()) is None


def test_simulated_people_hold_conversations_that_are_marked(tmp_path):
    s = study(tmp_path, evaluation(1), conversations=rules(per_person=4))
    conversations = Conversations(s, [live()])
    replies = {name: lambda messages, conversation, sample: iter(["a ", str(len(messages))]) for name in NAMES}
    people = [SimulatedPerson(f"simulated-{number}", 0.2) for number in (1, 2)]
    assert simulated_talk.hold(conversations, people, replies, exchanges=2, seed=3) == 8
    graded = [record for record in records(s) if record.exchange is not None]
    assert len(graded) == 16 and {record.exchange.response for record in graded} == {"a 1", "a 3"}
    assert len(records(s)) == 16 + 4 and all(record.simulated for record in records(s))  # four pairs


def test_live_conversations_are_exported_as_jsonl_only(tmp_path):
    s = study(tmp_path, evaluation(1), conversations=rules(per_person=2))
    held(Conversations(s, [live()]), s.store.person("ann"), live())
    assert exchange.export(s, NAME, tmp_path / "out.jsonl", "jsonl") == 3
    with pytest.raises(exchange.ExchangeError, match="argilla cannot represent; export them as jsonl"):
        exchange.export(s, NAME, tmp_path / "out.json", "argilla")


def test_an_unknown_address_is_refused(tmp_path):
    with pytest.raises(StudyError, match="unknown task"):
        Conversations(study(tmp_path, evaluation(1)), [live()]).evaluation("nothing")
