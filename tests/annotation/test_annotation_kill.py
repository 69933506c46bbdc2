"""A server that is killed while people judge and talk loses nothing that was confirmed.

Each test kills the server twice; the environment variable KILLS sets another number.
"""

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
from sample_study import PLAIN, evaluation, live, settings, study

from lima.annotation.conversations import Conversations
from lima.annotation.study import write_annotations

KILLS = int(os.environ.get("KILLS", "2"))
ANSWER = "a b c d e "  # of the server in sample_study.py


def judge(client, page, confirmed):
    task = "/api" + re.search(r"/tasks/\w+", page)[0]
    state = client.get(task).json()
    while state["status"] == "item":
        id_ = state["item"]["assignment"]
        body = {"assignment": id_, "version": 0, "request": f"r-{id_}", "value": "first", "seconds": 1.0}
        reply = client.post(f"{task}/judgments", json=body).json()
        if reply["saved"]:
            confirmed.append(id_)
        state = reply["next"]


def talk(client, page, confirmed):
    """Confirmed are (conversation, turn, what): messages, answers and grades that the page showed as saved."""
    api = "/api" + re.search(r"/conversations/\w+", page)[0]
    for number in range(1000):
        state = client.get(api).json()
        if state["status"] == "pair":
            id_ = state["pair"]["assignment"]
            body = {"assignment": id_, "version": 0, "request": f"pair-{id_}", "value": "tie", "seconds": 1.0}
            client.post(f"{api}/preferences", json=body)
            continue
        if state["status"] == "finished":
            return
        id_, turn = state["conversation"]["id"], len(state["conversation"]["exchanges"])
        if turn == 2:
            client.post(f"{api}/endings", json={"conversation": id_})
            continue
        body = {"conversation": id_, "turn": turn, "request": f"say-{id_}-{turn}", "text": f"message {number}"}
        if client.post(f"{api}/messages", json=body).json()["saved"]:
            confirmed.append((id_, turn, "message"))
        stream = client.get(f"{api}/replies/{id_}").text.splitlines()
        if '"response"' in stream[-1]:
            confirmed.append((id_, turn, "answer"))
        grade = {"version": 0, "request": f"grade-{id_}-{turn}", "value": "pass", "off_subject": False, "seconds": 1}
        if client.post(f"{api}/grades", json={"conversation": id_, "turn": turn, **grade}).json()["saved"]:
            confirmed.append((id_, turn, "grade"))


def log_in(client, name):
    """Open a session; returns the page with the tasks."""
    client.post("/api/session", json={"pseudonym": name})
    page = client.get("/").text
    client.headers["x-csrf-token"] = re.search(r'name="csrf" content="(\w+)"', page)[1]
    return page


def until_killed(address, name, act, confirmed):
    with httpx.Client(base_url=address, timeout=300) as client:
        try:
            act(client, log_in(client, name), confirmed)
        except httpx.TransportError:
            return  # killed


@contextlib.contextmanager
def server(folder, *words):
    """A server in a process of its own: the process and its address."""
    command = [sys.executable, str(Path(__file__).with_name("sample_study.py")), str(folder), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def kill_under_load(folder, act):
    """Kill the server repeatedly while four people act; returns what was confirmed."""
    confirmed = []
    for kill in range(KILLS):
        with server(folder, "endless") as (process, address):
            people = [
                threading.Thread(target=until_killed, args=(address, f"k{kill}-{n}", act, confirmed)) for n in range(4)
            ]
            for person in people:
                person.start()
            while len(confirmed) < 15 * (kill + 1) and any(person.is_alive() for person in people):
                time.sleep(0.01)
            process.kill()
            for person in people:
                person.join()
    assert len(confirmed) >= 15 * KILLS
    return confirmed


def test_a_killed_server_loses_no_confirmed_judgment(tmp_path):
    confirmed = kill_under_load(tmp_path, judge)
    s = study(tmp_path, evaluation(200), **PLAIN)
    write_annotations(s, tmp_path / "annotations")
    stored = [record.id for record in s.annotations("secret-evaluation")]
    assert len(stored) == len(set(stored)) and set(confirmed) <= set(stored)


def talks(s):
    """Every conversation with its person and exchanges."""
    conversations = Conversations(s, [live()])
    people = {person.id: person for person in s.store.people()}
    for id_, number in s.store.rows("SELECT id, person FROM conversations"):
        yield people[number], id_, conversations.exchanges(conversations.conversation(id_, people[number]))


def test_a_killed_server_loses_no_confirmed_turn_of_a_conversation(tmp_path):
    confirmed = kill_under_load(tmp_path, talk)
    s = study(tmp_path, evaluation(200), **PLAIN, conversations=settings().conversations.model_dump())
    stored = set()
    interrupted = []
    for owner, id_, exchanges in talks(s):
        for exchange in exchanges:
            stored.add((id_, exchange.turn, "message"))
            if exchange.response is None:
                interrupted.append((owner.pseudonym, id_, exchange.turn))
                continue
            assert exchange.response == ANSWER  # never a part of an answer
            stored.add((id_, exchange.turn, "answer"))
            if s.store.assignment(exchange.assignment, owner)[1] is not None:
                stored.add((id_, exchange.turn, "grade"))
    assert set(confirmed) <= stored and {what for *_, what in confirmed} == {"message", "answer", "grade"}
    assert interrupted  # one answer never ends
    with server(tmp_path) as (_, address):
        for pseudonym, id_, turn in interrupted:
            request_again(address, pseudonym, id_, turn)
    for _, id_, exchanges in talks(s):
        assert [exchange.response for exchange in exchanges] == [ANSWER] * len(exchanges), id_


def request_again(address, pseudonym, id_, turn):
    with httpx.Client(base_url=address, timeout=300) as client:
        api = "/api" + re.search(r"/conversations/\w+", log_in(client, pseudonym))[0]
        state = client.get(api).json()["conversation"]
        assert state["id"] == id_ and "interrupted" in state["failure"]
        assert client.post(f"{api}/attempts", json={"conversation": id_, "turn": turn}).status_code == 200
        assert '"response"' in client.get(f"{api}/replies/{id_}").text.splitlines()[-1]
