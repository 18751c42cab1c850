"""The address that matches two pictures."""

# No annotations from the future: FastAPI reads those of functions within functions as they are.

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from dccnet.service import schemas
from dccnet.service.answers import Question
from dccnet.service.core import Service
from dccnet.service.forms import QUESTION, USUAL, Text, Upload, both, known_fields, picture, question_of


def matching_routes(service: Service) -> APIRouter:
    """``/v1/match``."""
    router, asked_about = APIRouter(tags=["matching"]), Depends(question_of(service))

    @router.post(
        "/v1/match",
        summary="Match two pictures",
        response_class=Response,
        responses={**USUAL, 200: {"model": schemas.Answer}},
        dependencies=[Depends(known_fields("a", "b", "a_url", "b_url", *QUESTION))],
    )
    async def match(
        asked: Annotated[Question, asked_about],
        a: Upload = None,
        b: Upload = None,
        a_url: Text = None,
        b_url: Text = None,
    ) -> Response:
        """Find points of one picture in the other, or all mutual matches."""

        async def work() -> bytes:
            drawn = asked.draw is not None
            first, second = await asyncio.gather(
                picture(service, a, a_url, "A", drawn=drawn, views=asked.ways.source),
                picture(service, b, b_url, "B", drawn=drawn, views=asked.ways.target),
            )
            return await service.match(first.seen, second.seen, asked, both(first.small, second.small))

        return Response(await service.in_time(work()), media_type="application/json")

    return router
