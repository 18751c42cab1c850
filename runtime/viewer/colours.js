// Colours that people with any colour vision can distinguish: they differ in lightness, or as blue and yellow.

// Lowest to highest score (matplotlib's inferno, nine of its colours).
const HEAT = [
  [0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85],
  [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164],
];

// Attention: context branch, both equally, local branch.
const ATTENTION = [[0, 92, 230], [235, 235, 235], [255, 176, 0]];

// Corners of picture A: top left, top right, bottom left, bottom right. runtime/drawing/place_colours.py has the same.
const PLACE = [[255, 236, 110], [120, 205, 255], [190, 90, 0], [25, 50, 170]];

// Linear interpolation between two colours.
function mix(from, to, share) {
  return from.map((value, i) => value + (to[i] - value) * share);
}

// The colour at `share` (0 to 1) of a gradient through a list of colours -> [r, g, b].
function colourAt(colours, share) {
  const position = Math.min(Math.max(share, 0), 1) * (colours.length - 1);
  const lower = Math.min(Math.floor(position), colours.length - 2);
  return mix(colours[lower], colours[lower + 1], position - lower);
}

// The colour of a cell of A by its place in the picture.
function placeColour(pair, cell) {
  const [rows, columns] = pair.grid.a;
  const x = (cell % columns) / Math.max(columns - 1, 1);
  const y = Math.floor(cell / columns) / Math.max(rows - 1, 1);
  return css(mix(mix(PLACE[0], PLACE[1], x), mix(PLACE[2], PLACE[3], x), y));
}

const css = (colour) => `rgb(${colour.map(Math.round).join(" ")})`;

const gradient = (colours) => `linear-gradient(to right, ${colours.map(css).join(", ")})`;
