"""The forms that requests send: their fields, their pictures, and the errors that they can get."""

# No annotations from the future: FastAPI reads those of functions within functions as they are.

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal

from fastapi import File, Form, Request, UploadFile

from dccnet.runtime.arrays import Image
from dccnet.runtime.views.choices import MIRRORS
from dccnet.runtime.views.view import View
from dccnet.runtime.views.ways import Ways
from dccnet.service import schemas
from dccnet.service.answers import Question, read_points
from dccnet.service.core import Service
from dccnet.service.pictures import Decoded
from dccnet.service.problems import MEDIA_TYPE, unprocessable

QUESTION = ("points", "from", "mutual", "least_confidence", "refine", "heatmaps", "draw", "mirror", "views")
"""The fields that :func:`question_of` reads."""
Views = Literal["1", "3", "8"]
VIEWS = (
    "Match so many views of both pictures, also zoomed and turned ones: more are more accurate, and take "
    "nearly so many times as long."
)
Upload = Annotated[UploadFile | None, File()]
Text = Annotated[str | None, Form()]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of an address, for OpenAPI."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"model": schemas.Problem, "content": content} for status in statuses}


USUAL = problems(400, 401, 408, 413, 421, 422, 500, 503)
"""Those of an address that takes a form."""


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


def question_of(service: Service) -> Callable[..., Question]:
    """A dependency that reads what is asked about a pair."""

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
        mirror: Annotated[
            Literal["no", "yes", "auto"],
            Form(
                description="Match A mirrored left to right, for things that face opposite ways; auto: "
                "where that is clearly more confident."
            ),
        ] = "no",
        views: Annotated[Views, Form(description=VIEWS)] = "1",
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
            Ways(MIRRORS[mirror], views_of(service, views)),
        )

    return question


def views_of(service: Service, views: str) -> int:
    """The number of views, if the server matches so many."""
    count, most = int(views), service.settings.views
    if count > most:
        raise unprocessable(f"this server matches at most {most} views of a pair, not {count}")
    return count


async def picture(
    service: Service,
    file: UploadFile | None,
    url: str | None,
    name: str,
    *,
    drawn: bool,
    views: Sequence[View],
) -> Decoded:
    """Picture ``name`` of a request, from one of both; ``views`` are those that are to be matched."""
    if (file is None) == (url is None):
        side = name.lower()
        raise unprocessable(f"send picture {name} as the file {side}, or its address as {side}_url")
    data = await file.read() if file is not None else await service.fetched(str(url))
    return await service.decoded(data, f"picture {name}", drawn=drawn, views=views)


def both(a: Image | None, b: Image | None) -> tuple[Image, Image] | None:
    """Two pictures to draw on, or None where one of them is not there."""
    return None if a is None or b is None else (a, b)
