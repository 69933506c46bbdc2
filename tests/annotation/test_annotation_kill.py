"""A server that is killed while people judge loses no confirmed judgment."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import httpx
from sample_study import PLAIN, evaluation, study

from lima.annotation.study import write_annotations


def judge_until_killed(address, name, confirmed):
    with httpx.Client(base_url=address, timeout=20) as client:
        try:
            client.post("/api/session", json={"pseudonym": name})
            page = client.get("/").text
            client.headers["x-csrf-token"] = re.search(r'name="csrf" content="(\w+)"', page)[1]
            task = "/api" + re.search(r"/tasks/\w+", page)[0]
            state = client.get(task).json()
            while state["status"] == "item":
                id_ = state["item"]["assignment"]
                body = {"assignment": id_, "version": 0, "request": f"r-{id_}", "value": "first", "seconds": 1.0}
                reply = client.post(f"{task}/judgments", json=body).json()
                if reply["saved"]:
                    confirmed.append(id_)
                state = reply["next"]
        except httpx.TransportError:
            return  # killed


def test_a_killed_server_loses_no_confirmed_judgment(tmp_path):
    confirmed = []
    for kill in range(2):
        command = [sys.executable, str(Path(__file__).with_name("sample_study.py")), str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
            address = process.stdout.readline().strip()
            people = [
                threading.Thread(target=judge_until_killed, args=(address, f"k{kill}-{n}", confirmed)) for n in range(4)
            ]
            for person in people:
                person.start()
            for _ in range(1000):
                people[0].join(0.01)
                if len(confirmed) >= 15 * (kill + 1):
                    break
            process.kill()
            for person in people:
                person.join(20)
    assert len(confirmed) >= 30
    s = study(tmp_path, evaluation(200), **PLAIN)
    write_annotations(s, tmp_path / "annotations")
    stored = [record.id for record in s.annotations("secret-evaluation")]
    assert len(stored) == len(set(stored)) and set(confirmed) <= set(stored)
