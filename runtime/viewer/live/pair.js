// A matched pair: both directions, and the matches of all cells.

import { cellOdds } from "./confidence.js";
import { extent } from "./geometry.js";
import { OneWay } from "./one_way.js";
import { cutWindows } from "./windows.js";

// `outputs` are the matcher's, one typed array a name, index_a and index_b as Int32Array; `sizes` and `fine` (features
// with the channels last, or null) and `logOdds`, if they were computed before, by side.
export function makePair(manifest, outputs, sizes, fine, logOdds = null) {
  const { grid } = manifest;
  const direction = (side) => {
    const [index, score, heatmap] = ["index", "score", "heatmap"].map((name) => outputs[`${name}_${side}`]);
    const windows = outputs[`window_${side}`] ?? (heatmap ? cutWindows(heatmap, index, grid) : null);
    return { index, score, windows, heatmap: heatmap ?? null };
  };
  const found = { a: direction("a"), b: direction("b") };
  const where = manifest.fine && finePlaces(manifest);
  const way = (side, other) =>
    new OneWay({
      ...found[side],
      grid,
      otherGrid: grid,
      size: sizes[side],
      otherSize: sizes[other],
      logOdds: logOdds ? logOdds[side] : odds(found, side, other, manifest),
      fine: where && fine.a && fine.b ? { here: fine[side], there: fine[other], ...where } : null,
    });
  return { a: way("a", "b"), b: way("b", "a") };
}

const odds = (found, side, other, { grid, confidence }) =>
  confidence && found[side].windows ? cellOdds(found[side], grid, found[other], grid, confidence) : null;

// Where fine features lie, in shares of a picture.
function finePlaces({ fine, image_size }) {
  const distance = extent(image_size);
  return {
    first: { x: fine.first[1] / distance.x, y: fine.first[0] / distance.y },
    step: { x: fine.stride / distance.x, y: fine.stride / distance.y },
  };
}

// The match of every cell of one picture -> [{point, match, score, confidence}].
export function cellMatches(way) {
  const trust = way.logOdds && way.trust();
  return Array.from(way.index, (_, cell) => {
    const point = way.cellPixel(cell);
    return {
      point,
      match: way.windows ? way.move(point) : way.bestPixel(cell),
      score: way.score[cell],
      confidence: trust && trust[cell],
    };
  });
}

// Cells of A on which both directions agree, with the lower of both scores, from the matches of all cells of A.
export function mutualMatches(pair, matches) {
  const { a, b } = pair;
  const mutual = [];
  a.index.forEach((best, cell) => {
    if (b.index[best] !== cell) return;
    mutual.push({ ...matches[cell], cell, score: Math.min(a.score[cell], b.score[best]) });
  });
  return mutual;
}
