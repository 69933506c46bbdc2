"""Live conversations of people with contestants: items and preferences from their annotations (LIMA §6).

Each annotation contains one exchange. A person holds one conversation with a contestant on an opening. In items and
judgments the person's number among all people takes the place of the sample, so that each conversation has a position
of its own.
"""

from collections import defaultdict
from collections.abc import Sequence

from lima.errors import LimaError
from lima.evaluation.items import Item, Items
from lima.records import Annotation, JudgeReply, Judgment, Prompt, Provenance, Response, Turn

TAG = "kind:conversation"


class IncompleteConversation(LimaError):
    """Annotations without those of an earlier exchange. The message names the person and the exchange."""


def numbered(annotations: Sequence[Annotation]) -> list[Annotation]:
    """The main annotations, with the number of the person as sample, in the order of pseudonyms."""
    main = [annotation for annotation in annotations if annotation.kind == "main"]
    numbers = {person: number for number, person in enumerate(sorted({annotation.person for annotation in main}))}
    return [annotation.model_copy(update={"sample": numbers[annotation.person]}) for annotation in main]


def items(annotations: Sequence[Annotation]) -> Items:
    """One item per graded response, in the order of openings, people and contestants; its prompt is the conversation.

    Raises:
        IncompleteConversation: an exchange is missing before a graded one.
    """
    conversations: defaultdict[tuple[str, int, str], dict[int, Annotation]] = defaultdict(dict)
    for annotation in numbered(annotations):
        if annotation.exchange is not None:
            key = (annotation.prompt_id, annotation.sample, annotation.contestant)
            conversations[key][annotation.turn] = annotation
    made = [
        item
        for (opening, sample, contestant), turns in sorted(conversations.items())
        for item in _conversation(opening, sample, contestant, turns)
    ]
    return Items(made, unanswered={}, incomplete=[])


def _conversation(opening: str, sample: int, contestant: str, turns: dict[int, Annotation]) -> list[Item]:
    messages: list[Turn] = []
    made = []
    for turn in range(max(turns) + 1):
        if turn not in turns:
            person = next(iter(turns.values())).person
            raise IncompleteConversation(
                f"exchange {turn + 1} of the conversation of {person} with {contestant} on {opening} is missing in "
                "corpus/annotations; restore its line, or remove the later ones"
            )
        exchange = turns[turn].exchange
        assert exchange is not None
        messages.append(Turn(role="user", content=exchange.asked))
        place = Provenance(
            source="conversations", site="", id=opening, url="", author=turns[turn].person, license="", digest=""
        )
        prompt = Prompt(id=opening, messages=tuple(messages), tags=(TAG,), provenance=place)
        response = Response(
            prompt_id=opening,
            contestant=contestant,
            sample=sample,
            turn=turn,
            text=exchange.response,
            finish="stop",
            tokens=None,
        )
        made.append(Item(prompt, (response,)))
        messages.append(Turn(role="assistant", content=exchange.response))
    return made


def grades(annotations: Sequence[Annotation], *, key: str, annotator: str) -> list[Judgment]:
    """People's grades of the responses of their own conversations."""
    return [
        _judgment(annotation, key, annotator).model_copy(
            update={"turn": annotation.turn, "detail": annotation.reason if annotation.value else ""}
        )
        for annotation in numbered(annotations)
        if annotation.exchange is not None
    ]


def preferences(annotations: Sequence[Annotation], *, key: str, annotator: str) -> list[Judgment]:
    """People's preferences between their two conversations on an opening, one judgment for each pair."""
    pairs = [annotation for annotation in numbered(annotations) if annotation.task == "pairwise"]
    return [
        _judgment(pair, key, annotator).model_copy(update={"task": "pairwise", "rival": pair.rival}) for pair in pairs
    ]


def _judgment(annotation: Annotation, key: str, annotator: str) -> Judgment:
    return Judgment(
        evaluation=key,
        task="dialogue",
        annotator=annotator,
        person=annotation.person,
        prompt_id=annotation.prompt_id,
        sample=annotation.sample,
        contestant=annotation.contestant,
        value=annotation.value,
        reason=None if annotation.value else "skipped",
        replies=(JudgeReply(first=annotation.first, value=annotation.value, text=annotation.comment),),
    )
