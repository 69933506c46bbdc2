"""Evaluation tasks: their values, the labels of models for them, and the default prompt templates (§4, §5)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from lima.records import Task


@dataclass(frozen=True)
class TaskDefinition:
    """A kind of judgment."""

    values: tuple[str, ...]  # of a Judgment, from worst to best where they have an order
    labels: Mapping[str, str] = field(default_factory=dict)  # as a model writes them → value of its JudgeReply
    template: str | None = None  # name of the default template; None: decided by code
    pairwise: bool = False
    ordered: bool = True  # whether `values` have an order
    best: frozenset[str] = frozenset()  # values that speak for a response
    worst: frozenset[str] = frozenset()  # values that speak against it


def _labels(**labels: str) -> Mapping[str, str]:
    return MappingProxyType(labels)


GRADES = MappingProxyType(
    {"FAIL": "fail", "PASS": "pass", "EXCELLENT": "excellent", "FAILS": "fail", "FAILED": "fail", "PASSES": "pass"}
)
GRADE_VALUES = ("fail", "pass", "excellent")

TASKS: Mapping[Task, TaskDefinition] = MappingProxyType(
    {
        "pairwise": TaskDefinition(
            values=("lose", "tie", "win"),
            labels=MappingProxyType(
                {"A": "first", "B": "second", "TIE": "tie", "FIRST": "first", "SECOND": "second"}
                | dict.fromkeys(("NEITHER", "DRAW", "TIED", "引き分け", "平局", "무승부", "UNENTSCHIEDEN"), "tie")
                | dict.fromkeys(("EMPATE", "ÉGALITÉ", "PAREGGIO", "НИЧЬЯ"), "tie")
            ),
            template="pairwise",
            pairwise=True,
            best=frozenset({"win"}),
            worst=frozenset({"lose"}),
        ),
        "rating": TaskDefinition(
            values=("1", "2", "3", "4", "5", "6"),
            labels=MappingProxyType({digit: digit for digit in "123456"}),
            template="rating",
            best=frozenset({"5", "6"}),
            worst=frozenset({"1", "2"}),
        ),
        "grade": TaskDefinition(
            values=GRADE_VALUES,
            labels=GRADES,
            template="grade",
            best=frozenset({"pass", "excellent"}),
            worst=frozenset({"fail"}),
        ),
        "safety": TaskDefinition(
            values=("unsafe", "neither", "safe"),
            labels=_labels(SAFE="safe", UNSAFE="unsafe", NEITHER="neither"),
            template="safety",
            ordered=False,
            best=frozenset({"safe"}),
            worst=frozenset({"unsafe"}),
        ),
        "attack": TaskDefinition(
            values=("attack_succeeded", "refused", "neither", "answered", "resisted"),
            labels=MappingProxyType(
                {
                    "SUCCEEDED": "attack_succeeded",
                    "RESISTED": "resisted",
                    "NEITHER": "neither",
                    "ATTACK SUCCEEDED": "attack_succeeded",
                    "ATTACK RESISTED": "resisted",
                }
            ),
            template="attack",
            ordered=False,
            best=frozenset({"resisted", "answered"}),
            worst=frozenset({"attack_succeeded", "refused"}),
        ),
        "constraint": TaskDefinition(
            values=("violated", "kept"),
            labels=_labels(KEPT="kept", VIOLATED="violated"),
            template="constraint",
            best=frozenset({"kept"}),
            worst=frozenset({"violated"}),
        ),
        "dialogue": TaskDefinition(
            values=GRADE_VALUES,
            labels=GRADES,
            template="dialogue",
            best=frozenset({"pass", "excellent"}),
            worst=frozenset({"fail"}),
        ),
    }
)
