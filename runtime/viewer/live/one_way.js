// One direction of a pair: where the points of one picture lie in the other, as in runtime/one_way.py.

import { cellPixel, clamp, cornersAround, extent, inCells, nearestCell, spacing } from "./geometry.js";
import { probability } from "./confidence.js";
import { refine } from "./refinement.js";
import { blendedScores, meanPlace } from "./windows.js";

export class OneWay {
  // size, otherSize: of the pictures; grid, otherGrid; index, score; windows and heatmap or null; logOdds or null;
  // fine: {here, there, first, step} or null.
  constructor(fields) {
    Object.assign(this, fields);
  }

  get rule() {
    if (!this.windows) return "cells";
    return this.fine ? "refined" : "subcell";
  }

  cell(point) {
    return nearestCell(point, this.size, this.grid);
  }

  cellPixel(cell) {
    return cellPixel(cell, this.grid, this.size);
  }

  // The best match of a cell, in pixels of the other picture.
  bestPixel(cell) {
    return cellPixel(this.index[cell], this.otherGrid, this.otherSize);
  }

  // Where a point lies in the other picture.
  move(point) {
    return this.windows ? this.#moveBetweenCells(point) : this.#moveByCells(point);
  }

  #moveByCells(point) {
    const found = { x: 0, y: 0 };
    for (const { cell, weight } of cornersAround(point, this.size, this.grid)) {
      const target = this.bestPixel(cell);
      found.x += weight * target.x;
      found.y += weight * target.y;
    }
    return found;
  }

  #moveBetweenCells(point) {
    const place = meanPlace(this.#blended(point), this.otherGrid);
    const step = spacing(this.otherSize, this.otherGrid);
    const match = { x: place.x * step.x, y: place.y * step.y };
    if (!this.fine) return match;
    const [here, there] = [extent(this.size), extent(this.otherSize)];
    const from = { x: point.x / here.x, y: point.y / here.y };
    const onto = { x: match.x / there.x, y: match.y / there.y };
    const refined = refine(from, onto, this.fine.here, this.fine.there, this.fine);
    return { x: clamp(refined.x, 0, 1) * there.x, y: clamp(refined.y, 0, 1) * there.y };
  }

  #blended(point) {
    return blendedScores(this, this.grid, this.otherGrid, inCells(point, this.size, this.grid));
  }

  // Scores over the cells of the other picture: all of them, of the nearest cell, or those around the best match.
  scores(point) {
    if (this.heatmap) {
      const cells = this.otherGrid[0] * this.otherGrid[1];
      const start = this.cell(point) * cells;
      return this.heatmap.subarray(start, start + cells);
    }
    return this.windows && this.#blended(point);
  }

  // The confidence in the match of a point; null from a bundle without.
  confidence(point) {
    if (!this.logOdds) return null;
    const inside = { x: clamp(point.x, 0, this.size[1] - 1), y: clamp(point.y, 0, this.size[0] - 1) };
    let odds = 0;
    for (const { cell, weight } of cornersAround(inside, this.size, this.grid)) {
      odds += weight * this.logOdds[cell];
    }
    return probability(odds);
  }

  // How much the match of each cell is trusted: its confidence, or else its score.
  trust() {
    return this.logOdds ? Float32Array.from(this.logOdds, probability) : this.score;
  }
}
