// The data of the pair. Pixels refer to the original pictures: 0-based, x right, y down.
"use strict";

const OTHER = { a: "b", b: "a" };

// Inverse of _encode_array in page.py.
async function unpack(text, Type) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Type(await new Response(stream).arrayBuffer());
}

// -> {pictures, grid, maps: {name: {side: {index, score, lattice, places, steps?, lowest?}}},
//     attention: {side: bytes} or null, confidence: {side: log-odds} or null, ...}
async function readPair(data) {
  const maps = {};
  for (const [name, sides] of Object.entries(data.maps)) {
    maps[name] = {};
    for (const [side, entry] of Object.entries(sides)) {
      maps[name][side] = {
        index: await unpack(entry.index, Uint32Array),
        score: await unpack(entry.score, Float32Array),
        lattice: entry.lattice,
        places: await unpack(entry.places, Uint16Array),
        steps: entry.steps ? await unpack(entry.steps, Uint8Array) : null,
        lowest: entry.lowest ? await unpack(entry.lowest, Float32Array) : null,
      };
    }
  }
  const attention = data.attention && {
    a: await unpack(data.attention.a, Uint8Array),
    b: await unpack(data.attention.b, Uint8Array),
  };
  const confidence = data.confidence && {
    a: await unpack(data.confidence.a, Float32Array),
    b: await unpack(data.confidence.b, Float32Array),
  };
  return { ...data, maps, attention, confidence };
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

// The four places around a point of a lattice over the picture whose first and last places lie on its first and
// last pixels, with their bilinear weights.
function around(pair, side, [rows, columns], point) {
  const { width, height } = pair.pictures[side];
  const x = (clamp(point.x, 0, width - 1) / Math.max(width - 1, 1)) * (columns - 1);
  const y = (clamp(point.y, 0, height - 1) / Math.max(height - 1, 1)) * (rows - 1);
  const left = Math.min(Math.floor(x), Math.max(columns - 2, 0));
  const top = Math.min(Math.floor(y), Math.max(rows - 2, 0));
  const right = Math.min(left + 1, columns - 1);
  const bottom = Math.min(top + 1, rows - 1);
  const [u, v] = [x - left, y - top];
  return [
    { place: top * columns + left, weight: (1 - u) * (1 - v) },
    { place: top * columns + right, weight: u * (1 - v) },
    { place: bottom * columns + left, weight: (1 - u) * v },
    { place: bottom * columns + right, weight: u * v },
  ];
}

const PLACES = 65535; // as in page.py

// The match of a point of `side` in the other picture, as Correspondences.flow places it.
function transfer(pair, map, side, point) {
  const { lattice, places } = pair.maps[map][side];
  const { width, height } = pair.pictures[OTHER[side]];
  const found = { x: 0, y: 0 };
  for (const { place, weight } of around(pair, side, lattice, point)) {
    found.x += (weight * places[2 * place] * (width - 1)) / PLACES;
    found.y += (weight * places[2 * place + 1] * (height - 1)) / PLACES;
  }
  return found;
}

const probability = (logOdds) => 1 / (1 + Math.exp(-logOdds));

// The confidence in the match of a point, as Correspondences.transfer_confidence.
function confidenceAt(pair, side, point) {
  let logOdds = 0;
  for (const { place, weight } of around(pair, side, pair.grid[side], point)) {
    logOdds += weight * pair.confidence[side][place];
  }
  return probability(logOdds);
}

// The cells of A on which both directions agree, with the places of the match in both pictures.
function mutualMatches(pair) {
  const { a, b } = pair.maps.fused;
  const matches = [];
  a.index.forEach((cellB, cellA) => {
    if (b.index[cellB] === cellA) {
      const point = cellPixel(pair, "a", cellA);
      matches.push({ cell: cellA, a: point, b: transfer(pair, "fused", "a", point) });
    }
  });
  return matches;
}

// What cells are ranked and hidden by: confidence where the bundle has it, else the score.
function trust(pair, side) {
  return pair.confidence ? pair.confidence[side].map(probability) : pair.maps.fused[side].score;
}

// The trust below which a cell of `side` is hidden: a confidence in percent, or the weakest `percent` of scores.
function threshold(pair, side, percent) {
  if (pair.confidence) return percent / 100;
  const sorted = Float32Array.from(pair.maps.fused[side].score).sort();
  return sorted[Math.min(Math.floor((sorted.length * percent) / 100), sorted.length - 1)];
}
