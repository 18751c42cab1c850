"""The addresses of references: pictures that are encoded once, and matched with many."""

# No annotations from the future: FastAPI reads those of functions within functions as they are.

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Path, Response

from dccnet.runtime.views.ways import Ways
from dccnet.service import schemas
from dccnet.service.answers import Question
from dccnet.service.core import Service
from dccnet.service.forms import (
    QUESTION,
    USUAL,
    Text,
    Upload,
    Views,
    both,
    known_fields,
    picture,
    problems,
    question_of,
    views_of,
)
from dccnet.service.problems import unprocessable

Id = Annotated[str, Path(description="The reference's id.", max_length=100)]


def reference_routes(service: Service) -> APIRouter:
    """``/v1/references`` and what is below it."""
    router, asked_about = APIRouter(tags=["references"]), Depends(question_of(service))

    @router.post(
        "/v1/references",
        status_code=201,
        summary="Encode a picture once",
        response_model=schemas.Reference,
        responses=USUAL,
        dependencies=[Depends(known_fields("a", "a_url", "mirrored", "views"))],
    )
    async def add_reference(
        response: Response,
        a: Upload = None,
        a_url: Text = None,
        mirrored: Annotated[
            bool, Form(description="Also encode it mirrored left to right, as matches with mirror need it.")
        ] = False,
        views: Annotated[Views, Form(description="The most views that matches with it may ask for.")] = "1",
    ) -> Any:
        """The picture A of later requests, which takes about half the time of a match each time."""

        async def work() -> Any:
            seen = Ways(mirrored, views_of(service, views)).source
            decoded = await picture(service, a, a_url, "A", drawn=True, views=seen)
            name, reference = await service.add_reference(decoded)
            response.headers["Location"] = f"/v1/references/{name}"
            return {
                "id": name,
                "size": list(reference.features.size),
                "bytes": reference.nbytes,
                "expires_s": service.settings.reference_s,
            }

        return await service.in_time(work())

    @router.post(
        "/v1/references/{id}/match",
        summary="Match a reference with a picture",
        response_class=Response,
        responses={**USUAL, **problems(404), 200: {"model": schemas.Answer}},
        dependencies=[Depends(known_fields("b", "b_url", *QUESTION))],
    )
    async def match_reference(
        id: Id,  # noqa: A002
        asked: Annotated[Question, asked_about],
        b: Upload = None,
        b_url: Text = None,
    ) -> Response:
        """As ``/v1/match``; the reference is picture A."""
        reference = service.reference(id)
        if reference is None:
            raise _no_reference()
        if not reference.features.has(asked.ways.source):
            raise unprocessable(
                "this reference lacks views that the match needs: send the picture again with "
                f"mirrored={str(asked.ways.mirror is not False).lower()} and views={asked.ways.views}"
            )

        async def work() -> bytes:
            drawn = asked.draw is not None
            second = await picture(service, b, b_url, "B", drawn=drawn, views=asked.ways.target)
            small = await service.picture_of(reference) if drawn else None
            pictures = both(small, second.small)
            return await service.match(reference.features, second.seen, asked, pictures)

        return Response(await service.in_time(work()), media_type="application/json")

    @router.delete(
        "/v1/references/{id}",
        status_code=204,
        summary="Forget a reference",
        responses=problems(401, 404, 421, 422),
    )
    async def delete_reference(id: Id) -> None:  # noqa: A002
        if not service.references.delete(id):
            raise _no_reference()

    return router


def _no_reference() -> HTTPException:
    return HTTPException(404, "there is no reference of this id, or no longer: send the picture again")
