// A bundle's confidence, as in runtime/evidence.py and runtime/confidence.py.

import { blendedScores, meanPlace } from "./windows.js";

const TINY = 1e-12;
const FARTHEST = 4; // neighbouring matches count as so far apart at most, in cells
const ORIENTATIONS = [{ x: 1 }, { x: -1 }]; // things seen as they are, and mirrored left to right

export const probability = (logOdds) => Math.fround(0.5 + 0.5 * Math.tanh(logOdds / 2));

// Logarithm of the odds that the match of each cell of `own` is right. `own` and `other` are the two directions,
// {index, score, windows}, with their grids.
export function cellOdds(own, grid, other, otherGrid, model) {
  const cells = Array.from(own.index, (_, cell) => ({ x: cell % grid[1], y: Math.floor(cell / grid[1]) }));
  const move = (from, fromGrid, toGrid, place) =>
    meanPlace(blendedScores(from, fromGrid, toGrid, place), toGrid, sideOf(from));
  const targets = cells.map((cell) => move(own, grid, otherGrid, cell));
  const distance = targets.map((target, i) => {
    const back = move(other, otherGrid, grid, target);
    return Math.log1p(Math.hypot(back.x - cells[i].x, back.y - cells[i].y));
  });
  const roughness = roughnessOf(targets, grid, otherGrid, distance.map((value) => Math.exp(-value)));
  const agreeing = own.index.reduce((count, best, cell) => count + (other.index[best] === cell), 0);
  const { weights, intercept } = model;
  return Float64Array.from(
    own.index,
    (_, cell) =>
      weights.score * Math.log(own.score[cell] + TINY) -
      weights.return * distance[cell] -
      weights.spread * spread(own.windows, cell, sideOf(own)) -
      weights.smoothness * roughness[cell] +
      (weights.mutual * agreeing) / own.index.length +
      intercept,
  );
}

const sideOf = ({ index, windows }) => Math.round(Math.sqrt(windows.length / index.length));

// Root mean square distance of a window's scores, above the lowest, from their mean place.
function spread(windows, cell, side) {
  const window = windows.subarray(cell * side * side, (cell + 1) * side * side);
  const lowest = Math.min(...window);
  let [total, x, y, squares] = [0, 0, 0, 0];
  window.forEach((score, i) => {
    const [row, column] = [Math.floor(i / side), i % side];
    const weight = score - lowest + (i === (side * side) >> 1 ? TINY : 0);
    total += weight;
    x += weight * column;
    y += weight * row;
    squares += weight * (row ** 2 + column ** 2);
  });
  return Math.sqrt(Math.max(squares / total - (x / total) ** 2 - (y / total) ** 2, 0));
}

// How differently a cell and its neighbours move, by the orientation that more of the picture agrees with.
function roughnessOf(targets, grid, otherGrid, trust) {
  const scale = (axis) => Math.max(grid[axis] - 1, 1) / Math.max(otherGrid[axis] - 1, 1);
  const scaled = targets.map(({ x, y }) => ({ x: x * scale(1), y: y * scale(0) }));
  let [best, most] = [null, -Infinity];
  for (const orientation of ORIENTATIONS) {
    const unlike = unlikeness(scaled, grid, orientation);
    const agreement = unlike.reduce((sum, value, i) => sum + trust[i] * Math.exp(-(value ** 2)), 0);
    if (agreement > most) [best, most] = [unlike, agreement];
  }
  return best;
}

// Mean distance of the 8 neighbours' matches from where they would lie if they moved as the cell does.
function unlikeness(targets, [rows, columns], orientation) {
  return targets.map((target, cell) => {
    const [row, column] = [Math.floor(cell / columns), cell % columns];
    let [total, count] = [0, 0];
    for (let down = -1; down <= 1; down++) {
      for (let right = -1; right <= 1; right++) {
        const inside = row + down >= 0 && row + down < rows && column + right >= 0 && column + right < columns;
        if ((!down && !right) || !inside) continue;
        const neighbour = targets[cell + down * columns + right];
        const apart = Math.hypot(neighbour.x - target.x - orientation.x * right, neighbour.y - target.y - down);
        total += Math.min(apart, FARTHEST);
        count += 1;
      }
    }
    return total / Math.max(count, 1);
  });
}
