// Transfer of points to places between cells, by the scores around the best matches, as in runtime/score_windows.py.

import { clamp } from "./geometry.js";

export const SIDE = 5; // of windows, in cells

// Calls visit(number in the window, cell) for the cells of the window around a cell that lie in the grid.
function eachCell(cell, [rows, columns], side, visit) {
  const top = Math.floor(cell / columns) - (side >> 1);
  const left = (cell % columns) - (side >> 1);
  for (let i = 0; i < side * side; i++) {
    const row = top + Math.floor(i / side);
    const column = left + (i % side);
    if (row >= 0 && row < rows && column >= 0 && column < columns) visit(i, row * columns + column);
  }
}

// The windows that a matcher returns, from all scores, for bundles that return only these.
export function cutWindows(heatmap, index, grid) {
  const cells = grid[0] * grid[1];
  const windows = new Float32Array(index.length * SIDE * SIDE);
  index.forEach((best, from) => {
    eachCell(best, grid, SIDE, (i, cell) => {
      windows[from * SIDE * SIDE + i] = heatmap[from * cells + cell];
    });
  });
  return windows;
}

// The four cells around a position in cells, with bilinear weights.
function bilinear({ x, y }, [rows, columns]) {
  const px = clamp(x, 0, columns - 1);
  const py = clamp(y, 0, rows - 1);
  const left = Math.min(Math.trunc(px), Math.max(columns - 2, 0));
  const top = Math.min(Math.trunc(py), Math.max(rows - 2, 0));
  const right = Math.min(left + 1, columns - 1);
  const bottom = Math.min(top + 1, rows - 1);
  const u = px - left;
  const v = py - top;
  return [
    [top * columns + left, (1 - u) * (1 - v)],
    [top * columns + right, u * (1 - v)],
    [bottom * columns + left, (1 - u) * v],
    [bottom * columns + right, u * v],
  ];
}

// {index, windows} of a picture with `grid`, and a position in its cells -> the scores over the cells of the other
// picture by which the position moves: the windows of the four cells around it, each above its lowest score.
export function blendedScores({ index, windows }, grid, otherGrid, position) {
  const length = windows.length / index.length;
  const side = Math.round(Math.sqrt(length));
  const blended = new Float64Array(otherGrid[0] * otherGrid[1]);
  for (const [cell, weight] of bilinear(position, grid)) {
    const start = cell * length;
    let lowest = Infinity;
    eachCell(index[cell], otherGrid, side, (i) => {
      lowest = Math.min(lowest, windows[start + i]);
    });
    eachCell(index[cell], otherGrid, side, (i, other) => {
      let above = windows[start + i] - lowest;
      // A window without differences still has a centre.
      if (other === index[cell]) above = Math.max(above, 1e-20);
      blended[other] += above * weight;
    });
  }
  return blended;
}

// The mean place {x, y}, in cells, in the window around the best cell of a map of scores.
export function meanPlace(scores, grid, side = SIDE) {
  let best = 0;
  for (let cell = 1; cell < scores.length; cell++) if (scores[cell] > scores[best]) best = cell;
  let lowest = Infinity;
  eachCell(best, grid, side, (_, cell) => {
    lowest = Math.min(lowest, scores[cell]);
  });
  let [x, y, total] = [0, 0, 0];
  eachCell(best, grid, side, (_, cell) => {
    const weight = scores[cell] - lowest;
    x += weight * (cell % grid[1]);
    y += weight * Math.floor(cell / grid[1]);
    total += weight;
  });
  if (total === 0) return { x: best % grid[1], y: Math.floor(best / grid[1]) };
  return { x: x / total, y: y / total };
}
