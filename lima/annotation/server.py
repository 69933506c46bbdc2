"""State that the routes of the annotation server share, and the background copy of judgments to files."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from lima.annotation.conversations import Conversations
from lima.annotation.live_replies import LiveReplies
from lima.annotation.questions import StudyEvaluation
from lima.annotation.study import Study, write_annotations

MIRROR_SECONDS = 1.0  # between a judgment and its line in corpus/annotations, at most


class Mirror:
    """Writes changed annotations to JSONL files in the background, at most once per MIRROR_SECONDS."""

    def __init__(self, study: Study, folder: Path) -> None:
        self._study = study
        self._folder = folder
        self.changed = asyncio.Event()

    async def run(self) -> None:
        while True:
            await self.changed.wait()
            await asyncio.sleep(MIRROR_SECONDS)
            self.changed.clear()
            await asyncio.to_thread(self.write)

    def write(self) -> None:
        write_annotations(self._study, self._folder)


@dataclass(frozen=True)
class Server:
    study: Study
    mirror: Mirror
    open_access: bool  # on loopback only: anyone may choose a pseudonym, and everyone is an administrator
    conversations: Conversations
    replies: LiveReplies

    def evaluation(self, slug: str) -> StudyEvaluation:
        """The evaluation of a page's address. Raises HTTPException for an unknown one."""
        evaluation = self.study.slugs.get(slug)
        if evaluation is None:
            raise HTTPException(404, "unknown task; return to the list of tasks")
        return evaluation


async def server_of(request: Request) -> Server:
    server: Server = request.app.state.server
    return server


CurrentServer = Annotated[Server, Depends(server_of)]
