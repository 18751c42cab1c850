// Positions of grid cells in pictures, as in runtime/geometry.py. Sizes and grids are [height, width];
// pixels are 0-based, x right, y down, and points are {x, y}.

export const OTHER = { a: "b", b: "a" };
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

const TINY = 2.2250738585072014e-308; // a picture of one row has no distance between its pixels

// Distance between neighbouring cells, in pixels.
export function spacing([height, width], [rows, columns]) {
  return { x: (width - 1) / Math.max(columns - 1, 1), y: (height - 1) / Math.max(rows - 1, 1) };
}

// Distance between the first and the last pixel, above 0.
export function extent([height, width]) {
  return { x: Math.max(width - 1, TINY), y: Math.max(height - 1, TINY) };
}

// The pixel of a cell's centre.
export function cellPixel(cell, grid, size) {
  const step = spacing(size, grid);
  return { x: (cell % grid[1]) * step.x, y: Math.floor(cell / grid[1]) * step.y };
}

// A point in cells of the grid, from pixels.
export function inCells(point, size, grid) {
  const step = spacing(size, grid);
  return { x: point.x / Math.max(step.x, TINY), y: point.y / Math.max(step.y, TINY) };
}

// Rounds halves to the even neighbour, as NumPy does.
function roundHalfEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

export function nearestCell(point, size, grid) {
  const { x, y } = inCells(point, size, grid);
  const column = clamp(roundHalfEven(x), 0, grid[1] - 1);
  return clamp(roundHalfEven(y), 0, grid[0] - 1) * grid[1] + column;
}

// The four cells around a point with their weights, by the benchmarks' rule: the lower cell is the last one strictly
// before the point, and a corner's weight is the distance to the opposite corner, over the sum of all.
export function cornersAround(point, size, grid) {
  const [rows, columns] = grid;
  const position = inCells(point, size, grid);
  const left = clamp(Math.ceil(position.x) - 1, 0, Math.max(columns - 2, 0));
  const top = clamp(Math.ceil(position.y) - 1, 0, Math.max(rows - 2, 0));
  const corners = [];
  for (const down of [0, 1]) {
    for (const right of [0, 1]) {
      const cell = Math.min(top + down, rows - 1) * columns + Math.min(left + right, columns - 1);
      const weight = Math.abs(position.x - left - (1 - right)) * Math.abs(position.y - top - (1 - down));
      corners.push({ cell, weight });
    }
  }
  const total = corners.reduce((sum, corner) => sum + corner.weight, 0);
  return corners.map(({ cell, weight }) => ({ cell, weight: weight / total }));
}
