// A bundle's confidence, as in runtime/evidence.py and runtime/confidence.py.

import { agreementOfNeighbours } from "./neighbours.js";
import { blendedScores, meanPlace } from "./windows.js";

const TINY = 1e-12;
const MOST = 8; // the power mean of support over a picture

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
  const around = agreementOfNeighbours(targets, grid, otherGrid, distance.map((value) => Math.exp(-value)));
  const agreeing = own.index.reduce((count, best, cell) => count + (other.index[best] === cell), 0);
  const overall = (around.support.reduce((sum, value) => sum + value ** MOST, 0) / own.index.length) ** (1 / MOST);
  const features = {
    score: (cell) => Math.log(own.score[cell] + TINY),
    return: (cell) => -distance[cell],
    spread: (cell) => -spread(own.windows, cell, sideOf(own)),
    smoothness: (cell) => -around.roughness[cell],
    mutual: () => agreeing / own.index.length,
    support: (cell) => around.support[cell],
    deviation: (cell) => -Math.log1p(around.deviation[cell]),
    overall: () => overall,
  };
  const weighed = Object.entries(model.weights);
  return Float64Array.from(own.index, (_, cell) =>
    weighed.reduce((odds, [name, weight]) => odds + weight * features[name](cell), model.intercept),
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
