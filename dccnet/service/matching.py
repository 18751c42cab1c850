"""The addresses that match: two pictures, or a picture with a reference."""

# No annotations from the future: FastAPI reads those of functions within functions as they are.

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, HTTPException, Path, Request, Response, UploadFile

from dccnet.runtime.arrays import Image
from dccnet.service import schemas
from dccnet.service.answers import Question, read_points
from dccnet.service.core import Service
from dccnet.service.pictures import Decoded
from dccnet.service.problems import MEDIA_TYPE, unprocessable

_QUESTION = ("points", "from", "mutual", "least_confidence", "refine", "heatmaps", "draw")
_JSON = "application/json"

Upload = Annotated[UploadFile | None, File()]
Text = Annotated[str | None, Form()]


Id = Annotated[str, Path(description="The reference's id.", max_length=100)]


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"model": schemas.Problem, "content": content} for status in statuses}


_USUAL = _problems(400, 401, 408, 413, 421, 422, 500, 503)


def known_fields(*names: str) -> Callable[[Request], Awaitable[None]]:
    """A dependency that refuses fields of a form that have no meaning: one that is left out because of a
    typing error changes the answer without a word."""

    async def check(request: Request) -> None:
        given = [name for name, _ in (await request.form()).multi_items()]
        for name in given:
            if name not in names:
                raise unprocessable(f"there is no field {name[:100]!r}: there are {', '.join(names)}")
            if given.count(name) > 1:
                raise unprocessable(f"the field {name} was given {given.count(name)} times")

    return check


def matching_routes(service: Service) -> APIRouter:
    router = APIRouter(tags=["matching"])

    def question(
        points: Annotated[
            str | None,
            Form(
                description="Points to find in the other picture: a JSON list of [x, y], in pixels.",
                examples=["[[120, 80], [33.5, 7]]"],
            ),
        ] = None,
        from_: Annotated[
            Literal["a", "b"], Form(alias="from", description="The picture that the points lie in.")
        ] = "a",
        mutual: Annotated[
            bool | None,
            Form(description="Return the mutual matches; by default, where there are no points."),
        ] = None,
        least_confidence: Annotated[
            float | None, Form(ge=0, le=1, description="Leave out mutual matches of less confidence.")
        ] = None,
        refine: Annotated[
            bool | None, Form(description="Place matches by fine features; by default, if there are any.")
        ] = None,
        heatmaps: Annotated[
            bool, Form(description="Return the scores of each point over the other picture.")
        ] = False,
        draw: Annotated[
            Literal["lines", "grid", "warp"] | None, Form(description="Return a drawing of the matches.")
        ] = None,
    ) -> Question:
        given = None if points is None else read_points(points, service.settings.points)
        return Question(
            given,
            from_,
            given is None if mutual is None else mutual,
            least_confidence,
            refine,
            heatmaps,
            draw,
        )

    async def picture(file: UploadFile | None, url: str | None, name: str, *, drawn: bool) -> Decoded:
        """Picture ``name`` of a request, from one of both."""
        if (file is None) == (url is None):
            side = name.lower()
            raise unprocessable(f"send picture {name} as the file {side}, or its address as {side}_url")
        data = await file.read() if file is not None else await service.fetched(str(url))
        return await service.decoded(data, f"picture {name}", drawn=drawn)

    Asked = Annotated[Question, Depends(question)]  # noqa: N806 (a type)

    @router.post(
        "/v1/match",
        summary="Match two pictures",
        response_class=Response,
        responses={**_USUAL, 200: {"model": schemas.Answer}},
        dependencies=[Depends(known_fields("a", "b", "a_url", "b_url", *_QUESTION))],
    )
    async def match(
        asked: Asked, a: Upload = None, b: Upload = None, a_url: Text = None, b_url: Text = None
    ) -> Response:
        """Find points of one picture in the other, or all mutual matches."""

        async def work() -> bytes:
            drawn = asked.draw is not None
            first, second = await asyncio.gather(
                picture(a, a_url, "A", drawn=drawn), picture(b, b_url, "B", drawn=drawn)
            )
            return await service.match(first.frame, second.frame, asked, _both(first.small, second.small))

        return Response(await service.in_time(work()), media_type=_JSON)

    @router.post(
        "/v1/references",
        status_code=201,
        summary="Encode a picture once",
        response_model=schemas.Reference,
        responses=_USUAL,
        dependencies=[Depends(known_fields("a", "a_url"))],
    )
    async def add_reference(response: Response, a: Upload = None, a_url: Text = None) -> Any:
        """The picture A of later requests, which takes about half the time of a match each time."""

        async def work() -> Any:
            decoded = await picture(a, a_url, "A", drawn=True)
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
        responses={**_USUAL, **_problems(404), 200: {"model": schemas.Answer}},
        dependencies=[Depends(known_fields("b", "b_url", *_QUESTION))],
    )
    async def match_reference(id: Id, asked: Asked, b: Upload = None, b_url: Text = None) -> Response:  # noqa: A002
        """As ``/v1/match``; the reference is picture A."""
        reference = service.reference(id)
        if reference is None:
            raise _no_reference()

        async def work() -> bytes:
            drawn = asked.draw is not None
            second = await picture(b, b_url, "B", drawn=drawn)
            small = await service.picture_of(reference) if drawn else None
            pictures = _both(small, second.small)
            return await service.match(reference.features, second.frame, asked, pictures)

        return Response(await service.in_time(work()), media_type=_JSON)

    @router.delete(
        "/v1/references/{id}",
        status_code=204,
        summary="Forget a reference",
        responses=_problems(401, 404, 421, 422),
    )
    async def delete_reference(id: Id) -> None:  # noqa: A002
        if not service.references.delete(id):
            raise _no_reference()

    return router


def _both(a: Image | None, b: Image | None) -> tuple[Image, Image] | None:
    return None if a is None or b is None else (a, b)


def _no_reference() -> HTTPException:
    return HTTPException(404, "there is no reference of this id, or no longer: send the picture again")
