// The data of the pair. Pixels refer to the original pictures: 0-based, x right, y down.
"use strict";

const OTHER = { a: "b", b: "a" };

// Inverse of _encode_array in page.py.
async function unpack(text, Type) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Type(await new Response(stream).arrayBuffer());
}

// -> {pictures, grid, maps: {name: {side: {index, score, steps?, lowest?}}}, attention: {side: bytes} or null, ...}
async function readPair(data) {
  const maps = {};
  for (const [name, sides] of Object.entries(data.maps)) {
    maps[name] = {};
    for (const [side, entry] of Object.entries(sides)) {
      maps[name][side] = {
        index: await unpack(entry.index, Uint32Array),
        score: await unpack(entry.score, Float32Array),
        steps: entry.steps ? await unpack(entry.steps, Uint8Array) : null,
        lowest: entry.lowest ? await unpack(entry.lowest, Float32Array) : null,
      };
    }
  }
  const attention = data.attention && {
    a: await unpack(data.attention.a, Uint8Array),
    b: await unpack(data.attention.b, Uint8Array),
  };
  return { ...data, maps, attention };
}

// Distance between neighbouring cells in pixels; the first cell lies on pixel 0, the last on the last pixel.
function spacing(pair, side) {
  const { width, height } = pair.pictures[side];
  const [rows, columns] = pair.grid[side];
  return { x: (width - 1) / Math.max(columns - 1, 1), y: (height - 1) / Math.max(rows - 1, 1) };
}

// The pixel of a cell's centre.
function cellPixel(pair, side, cell) {
  const columns = pair.grid[side][1];
  const step = spacing(pair, side);
  return { x: (cell % columns) * step.x, y: Math.floor(cell / columns) * step.y };
}

// Rounds halves to the even neighbour, as NumPy does.
function roundHalfEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function nearestCell(pair, side, point) {
  const [rows, columns] = pair.grid[side];
  const step = spacing(pair, side);
  const column = clamp(roundHalfEven(point.x / (step.x || 1)), 0, columns - 1);
  const row = clamp(roundHalfEven(point.y / (step.y || 1)), 0, rows - 1);
  return row * columns + column;
}

// The position of a point of `side` in the other picture, by the benchmarks' rule (runtime/geometry.py).
function transfer(pair, map, side, point) {
  const [rows, columns] = pair.grid[side];
  const step = spacing(pair, side);
  const position = { x: point.x / (step.x || 1), y: point.y / (step.y || 1) };
  const lower = {
    x: clamp(Math.ceil(position.x) - 1, 0, Math.max(columns - 2, 0)),
    y: clamp(Math.ceil(position.y) - 1, 0, Math.max(rows - 2, 0)),
  };
  const found = { x: 0, y: 0 };
  let total = 0;
  for (const dy of [0, 1]) {
    for (const dx of [0, 1]) {
      const x = Math.min(lower.x + dx, columns - 1);
      const y = Math.min(lower.y + dy, rows - 1);
      // The distance to one corner is the weight of the opposite one.
      const weight =
        Math.abs(position.x - lower.x - (1 - dx)) * Math.abs(position.y - lower.y - (1 - dy));
      const target = cellPixel(pair, OTHER[side], pair.maps[map][side].index[y * columns + x]);
      found.x += weight * target.x;
      found.y += weight * target.y;
      total += weight;
    }
  }
  return { x: found.x / total, y: found.y / total };
}

// Pairs of cells that are each other's best match, with the lower of their two scores.
function mutualMatches(pair) {
  const { a, b } = pair.maps.fused;
  const matches = [];
  a.index.forEach((cellB, cellA) => {
    if (b.index[cellB] === cellA) {
      matches.push({ a: cellA, b: cellB, score: Math.min(a.score[cellA], b.score[cellB]) });
    }
  });
  return matches;
}

// The score below which the weakest `percent` of the cells of `side` are.
function threshold(pair, side, percent) {
  const sorted = Float32Array.from(pair.maps.fused[side].score).sort();
  return sorted[Math.min(Math.floor((sorted.length * percent) / 100), sorted.length - 1)];
}
