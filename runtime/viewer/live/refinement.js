// Placing matches below the cells of the grid, by the fine features of both pictures, as in runtime/refinement.py.

import { clamp } from "./geometry.js";

const PATCH = 5; // side of the compared patches, in fine features
const REACH = 3; // largest step of the search along each axis
const COST = 0.015; // similarity that a place must have more, for each squared step from the start
const STEPS = 2 * REACH + 1;

// Numbers of a float16 tensor, which browsers without Float16Array return as their bits.
export function toFloat32(values) {
  if (!(values instanceof Uint16Array)) return Float32Array.from(values);
  return Float32Array.from(values, (bits) => {
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
    return bits & 0x8000 ? -size : size;
  });
}

// Channels first (C, h, w) -> {values: (h, w, C) float32, rows, columns, channels}.
export function channelsLast(values, [channels, rows, columns]) {
  const given = toFloat32(values);
  const last = new Float32Array(given.length);
  const cells = rows * columns;
  for (let channel = 0, i = 0; channel < channels; channel++) {
    for (let cell = 0; cell < cells; cell++) last[cell * channels + channel] = given[i++];
  }
  return { values: last, rows, columns, channels };
}

// Features around a place, (2 · reach + 1)² of them, bilinear; outside the grid those of the nearest place.
function square({ values, rows, columns, channels }, { x, y }, reach) {
  const side = 2 * reach + 1;
  const left = Math.floor(x);
  const top = Math.floor(y);
  const u = x - left;
  const v = y - top;
  const found = new Float32Array(side * side * channels);
  const start = (row, column) =>
    (clamp(row, 0, rows - 1) * columns + clamp(column, 0, columns - 1)) * channels;
  let at = 0;
  for (let row = top - reach; row <= top + reach; row++) {
    for (let column = left - reach; column <= left + reach; column++) {
      const [a, b] = [start(row, column), start(row, column + 1)];
      const [c, d] = [start(row + 1, column), start(row + 1, column + 1)];
      for (let channel = 0; channel < channels; channel++) {
        const before = values[a + channel] + v * (values[c + channel] - values[a + channel]);
        const after = values[b + channel] + v * (values[d + channel] - values[b + channel]);
        found[at++] = before + u * (after - before);
      }
    }
  }
  return found;
}

// The place on the grid of `onto` near `start` whose patch is most like that of `from` at `position`.
function search(from, onto, position, start) {
  const last = { x: onto.columns - 1, y: onto.rows - 1 };
  const from0 = { x: clamp(start.x, 0, last.x), y: clamp(start.y, 0, last.y) };
  const { channels } = onto;
  const patch = square(from, position, PATCH >> 1);
  const window = square(onto, from0, REACH + (PATCH >> 1));
  const width = STEPS + PATCH - 1;
  const scores = new Float64Array(STEPS * STEPS).fill(-Infinity);
  for (let down = 0; down < STEPS; down++) {
    const y = from0.y + down - REACH;
    if (y < 0 || y > last.y) continue;
    for (let right = 0; right < STEPS; right++) {
      const x = from0.x + right - REACH;
      if (x < 0 || x > last.x) continue;
      let sum = 0;
      for (let row = 0, i = 0; row < PATCH; row++) {
        let j = ((down + row) * width + right) * channels;
        for (const end = i + PATCH * channels; i < end; i++, j++) sum += window[j] * patch[i];
      }
      scores[down * STEPS + right] = sum / PATCH ** 2 - COST * ((down - REACH) ** 2 + (right - REACH) ** 2);
    }
  }
  const peak = highest(scores);
  return { x: from0.x - REACH + peak.x, y: from0.y - REACH + peak.y };
}

// The place of the highest score, between its neighbours where a parabola through three scores is highest.
function highest(scores) {
  let best = 0;
  for (let i = 1; i < scores.length; i++) if (scores[i] > scores[best]) best = i;
  const [row, column] = [Math.floor(best / STEPS), best % STEPS];
  const at = (y, x) => (y < 0 || y >= STEPS || x < 0 || x >= STEPS ? -Infinity : scores[y * STEPS + x]);
  return {
    x: column + vertex(at(row, column - 1), at(row, column + 1), scores[best]),
    y: row + vertex(at(row - 1, column), at(row + 1, column), scores[best]),
  };
}

function vertex(before, after, peak) {
  const bend = before + after - 2 * peak;
  return Number.isFinite(bend) && bend < 0 ? (-0.5 * (after - before)) / bend : 0;
}

// A better `match` of `place`, both shares {x, y} of their pictures. `fine` is {first, step}, where fine features lie
// in shares of a picture, the same in both. Results may lie outside the picture.
export function refine(place, match, here, there, { first, step }) {
  const onGrid = (share) => ({ x: (share.x - first.x) / step.x, y: (share.y - first.y) / step.y });
  const [position, start] = [onGrid(place), onGrid(match)];
  // There are no features along the border: what lies there moves with the nearest one.
  const nearest = { x: clamp(position.x, 0, here.columns - 1), y: clamp(position.y, 0, here.rows - 1) };
  const beyond = { x: position.x - nearest.x, y: position.y - nearest.y };
  const found = search(here, there, nearest, { x: start.x - beyond.x, y: start.y - beyond.y });
  return { x: (found.x + beyond.x) * step.x + first.x, y: (found.y + beyond.y) * step.y + first.y };
}
