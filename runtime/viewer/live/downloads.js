// What can be downloaded: a drawing of the pair, and the matches in the formats of dcc match (docs/formats.md).

import { paintDot } from "./stage.js";

export const MOST_LINES = 25;
const HEIGHT = 900; // pixels, of the drawing
const GAP = 16; // between the pictures

const round = (value, digits) => Math.round(value * 10 ** digits) / 10 ** digits;
const places = (matches, name) => matches.map((match) => [round(match[name].x, 3), round(match[name].y, 3)]);

// `pair` are both directions, `matches` those of all cells by side.
export function toJson(pair, matches) {
  const lists = (side) => {
    const [here, there] = [places(matches[side], "point"), places(matches[side], "match")];
    return {
      points_a: side === "a" ? here : there,
      points_b: side === "a" ? there : here,
      scores: matches[side].map(({ score }) => Number(score.toPrecision(6))),
      ...(pair.a.logOdds && { confidence: matches[side].map(({ confidence }) => round(confidence, 4)) }),
    };
  };
  return `${JSON.stringify({
    schema: 1,
    size_a: pair.a.size,
    size_b: pair.b.size,
    grid_a: pair.a.grid,
    grid_b: pair.b.grid,
    transfer: pair.a.rule,
    mirrored: false, // the page matches pictures as they are
    a_to_b: lists("a"),
    b_to_a: lists("b"),
  })}\n`;
}

export function toCsv(pair, matches) {
  const lines = ["direction,x_a,y_a,x_b,y_b,score,confidence"];
  for (const [direction, side] of [["a_to_b", "a"], ["b_to_a", "b"]]) {
    for (const { point, match, score, confidence } of matches[side]) {
      const [a, b] = side === "a" ? [point, match] : [match, point];
      const fields = [a.x, a.y, b.x, b.y].map((value) => value.toFixed(3));
      const sure = pair.a.logOdds ? confidence.toFixed(4) : "";
      lines.push([direction, ...fields, Number(score.toPrecision(6)), sure].join(","));
    }
  }
  return `${lines.join("\r\n")}\r\n`;
}

// Both pictures side by side with lines between `matches` ({point, match, colour}); -> a canvas.
export function drawing(stages, matches) {
  const pictures = [stages.a.picture, stages.b.picture];
  const widths = pictures.map(({ width, height }) => Math.round((width * HEIGHT) / height));
  const canvas = document.createElement("canvas");
  canvas.width = widths[0] + GAP + widths[1];
  canvas.height = HEIGHT;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(pictures[0], 0, 0, widths[0], HEIGHT);
  context.drawImage(pictures[1], widths[0] + GAP, 0, widths[1], HEIGHT);
  const from = ({ point }) => stages.a.onCanvas(point, { width: widths[0], height: HEIGHT });
  const to = ({ match }) => {
    const { x, y } = stages.b.onCanvas(match, { width: widths[1], height: HEIGHT });
    return { x: x + widths[0] + GAP, y };
  };
  for (const match of matches) {
    for (const [width, colour] of [[4.5, "rgb(0 0 0 / .55)"], [2.5, match.colour]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.beginPath();
      context.moveTo(from(match).x, from(match).y);
      context.lineTo(to(match).x, to(match).y);
      context.stroke();
    }
  }
  for (const match of matches) {
    for (const place of [from(match), to(match)]) paintDot(context, place, 5.5, 1.5, match.colour);
  }
  return canvas;
}

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
