"""The answers as OpenAPI describes them. Coordinates are pixels, 0-based, x right, y down."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Point = Annotated[list[float], Field(min_length=2, max_length=2)]
"""(x, y)."""
Size = Annotated[list[int], Field(min_length=2, max_length=2)]
"""(height, width)."""


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(
        description="What is wrong, in one sentence.",
        examples=["the point 900,10 lies outside the 360x239 picture A"],
    )


class ModelName(BaseModel):
    """What matched."""

    name: str = Field(examples=["small-1"])
    digest: str = Field(description="SHA-256 of the bundle's manifest.", examples=["5f1c…"])


class Matches(BaseModel):
    """Matched points, in the same order in every list."""

    points_a: list[Point] = Field(examples=[[[120.0, 80.0]]])
    points_b: list[Point] = Field(examples=[[[131.4, 77.9]]])
    scores: list[float] = Field(examples=[[0.0134]])
    confidence: list[float] | None = Field(
        None, description="Probability that each match is right, if the model has it.", examples=[[0.93]]
    )


class Answer(BaseModel):
    """How two pictures match."""

    model_config = ConfigDict(title="MatchAnswer")

    schema_: int = Field(alias="schema", examples=[1])
    model: ModelName
    size_a: Size = Field(description="(height, width) of picture A.", examples=[[239, 360]])
    size_b: Size = Field(description="(height, width) of picture B.", examples=[[240, 360]])
    transfer: str = Field(
        description="How points are placed: refined, subcell or cells.", examples=["refined"]
    )
    mirrored: bool = Field(
        description="Whether A was matched mirrored left to right. Positions are those of A as it is."
    )
    points: Matches | None = Field(None, description="The points of the request and where they lie.")
    mutual: Matches | None = Field(None, description="Cells that are each other's best match.")
    heatmaps: list[list[list[float]]] | None = Field(
        None, description="(N, h, w): scores of each point over the cells of the other picture."
    )
    drawing: str | None = Field(None, description="A JPEG as a data: address.")


class Reference(BaseModel):
    """A picture that was encoded."""

    id: str = Field(examples=["Xq3J0a8mB0kq1yWc5mZ0hw"])
    size: Size = Field(description="(height, width) of the picture.", examples=[[239, 360]])
    bytes: int = Field(description="What it takes of the server's memory.", examples=[2113184])
    expires_s: float = Field(
        description="Seconds after its last use at which it is removed, if not before for room.",
        examples=[3600.0],
    )


class Limits(BaseModel):
    """What one request may contain."""

    body_bytes: int
    pixels: int
    points: int
    views: int
    timeout_s: float


class Model(BaseModel):
    """What this server runs."""

    name: str = Field(examples=["small-1"])
    digest: str
    backbone: str = Field(examples=["efficientnet_lite1"])
    backend: str = Field(examples=["ONNX Runtime 1.22.0 (CPU)"])
    precision: str = Field(examples=["float32"])
    image_size: Size = Field(description="(height, width) of the network's frames.")
    grid: Size = Field(description="(h, w) in cells.", examples=[[22, 22]])
    refines: bool = Field(description="Whether matches are placed below the cells by fine features.")
    heatmaps: bool
    confidence: str | None = Field(description="What confidence is the probability of; null without it.")
    verified: bool = Field(description="Whether its graphs were compared with the network.")
    version: str = Field(description="Of dcc.")
    limits: Limits


class State(BaseModel):
    status: str = Field(examples=["ok"])
