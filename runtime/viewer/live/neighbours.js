// How neighbouring matches move, as in runtime/neighbours.py.

const FARTHEST = 4; // neighbouring matches count as so far apart at most, in cells
const ORIENTATIONS = [1, -1]; // things seen as they are, and mirrored left to right
const TOLERANCE = 2; // of support, in cells
const OUTLIER = 1.5; // of deviation, in cells
const PRIOR = 1e-2; // what counts for no deviation

// roughness, support and deviation of each match; targets are {x, y} in cells of the other grid.
export function agreementOfNeighbours(targets, grid, otherGrid, trust) {
  const scale = (axis) => Math.max(grid[axis] - 1, 1) / Math.max(otherGrid[axis] - 1, 1);
  const scaled = targets.map(({ x, y }) => ({ x: x * scale(1), y: y * scale(0) }));
  let [best, most] = [null, -Infinity];
  for (const orientation of ORIENTATIONS) {
    const apart = scaled.map((_, cell) => neighboursOf(scaled, grid, cell, orientation));
    const roughness = apart.map(roughnessOf);
    const agreement = roughness.reduce((sum, value, i) => sum + trust[i] * Math.exp(-(value ** 2)), 0);
    if (agreement > most) [best, most] = [{ apart, roughness }, agreement];
  }
  return {
    roughness: best.roughness,
    support: best.apart.map((neighbours) => supportOf(neighbours, trust)),
    deviation: best.apart.map((neighbours) => deviationOf(neighbours, trust)),
  };
}

// The up to 24 neighbours of a cell: by how much, {x, y}, they move differently, and the squared distance to them.
function neighboursOf(targets, [rows, columns], cell, orientation) {
  const [row, column] = [Math.floor(cell / columns), cell % columns];
  const found = [];
  for (let down = -2; down <= 2; down++) {
    for (let right = -2; right <= 2; right++) {
      const inside = row + down >= 0 && row + down < rows && column + right >= 0 && column + right < columns;
      if ((!down && !right) || !inside) continue;
      const number = cell + down * columns + right;
      const x = targets[number].x - targets[cell].x - orientation * right;
      const y = targets[number].y - targets[cell].y - down;
      found.push({ number, x, y, squared: down * down + right * right });
    }
  }
  return found;
}

// Mean difference of the 8 adjacent cells.
function roughnessOf(neighbours) {
  const adjacent = neighbours.filter(({ squared }) => squared <= 2);
  const total = adjacent.reduce((sum, { x, y }) => sum + Math.min(Math.hypot(x, y), FARTHEST), 0);
  return total / Math.max(adjacent.length, 1);
}

// Mean of the neighbours' trust, less the more differently they move.
function supportOf(neighbours, trust) {
  const alike = ({ number, x, y }) => trust[number] * Math.exp(-(x * x + y * y) / TOLERANCE ** 2);
  return neighbours.reduce((sum, one) => sum + alike(one), 0) / Math.max(neighbours.length, 1);
}

// Distance from where the neighbours would put the match: their mean, for which they count less the farther
// they are from a first mean of all.
function deviationOf(neighbours, trust) {
  const weights = neighbours.map(({ number, squared }) => trust[number] * Math.exp(-squared / 4.5));
  const first = meanOf(neighbours, weights);
  const less = neighbours.map(({ x, y }, i) => {
    const off = (x - first.x) ** 2 + (y - first.y) ** 2;
    return weights[i] / (1 + off / OUTLIER ** 2) ** 2;
  });
  const mean = meanOf(neighbours, less);
  return Math.hypot(mean.x, mean.y);
}

function meanOf(neighbours, weights) {
  const sum = { x: 0, y: 0, weight: PRIOR };
  neighbours.forEach(({ x, y }, i) => {
    sum.x += weights[i] * x;
    sum.y += weights[i] * y;
    sum.weight += weights[i];
  });
  return { x: sum.x / sum.weight, y: sum.y / sum.weight };
}
