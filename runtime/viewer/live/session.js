// The pictures on the page and their matches, which a worker computes.

import { OTHER } from "./geometry.js";
import { makePair } from "./pair.js";

export class Session {
  // `on` has a function for each event: progress(text, done, total), ready(manifest, place), matched(), listed(),
  // failed(text, during).
  constructor(config, on) {
    this.on = on;
    this.pictures = { a: null, b: null }; // {name, size, image, number, fine, shown}
    this.pair = null; // both directions; null until the pictures are matched
    this.listed = null; // {matches: by side, mutual}, soon after
    this.manifest = null;
    this.count = 0;
    this.broken = false; // whether the network could not be loaded
    this.wanted = null; // the number of the match that is being computed
    this.worker = new Worker("worker.js", { type: "module" });
    this.worker.onmessage = ({ data: { kind, ...values } }) => this[`_${kind}`](values);
    this.worker.onerror = (event) => on.failed(event.message || "this browser cannot run the page's worker", "load");
    this.worker.postMessage({ kind: "load", config });
  }

  // Takes a picture, an ImageBitmap. `keep` leaves the earlier match until the next one is there.
  take(side, image, name, keep = false) {
    const number = ++this.count;
    this.pictures[side]?.image.close();
    this.pictures[side] = { name, image, number, size: [image.height, image.width], fine: null };
    this.worker.postMessage({ kind: "picture", side, image, number });
    this.#match(keep);
  }

  // Whether both pictures are there and wait for their match.
  get waiting() {
    return this.wanted !== null;
  }

  swap() {
    [this.pictures.a, this.pictures.b] = [this.pictures.b, this.pictures.a];
    this.worker.postMessage({ kind: "swap" });
    this.#match(false);
  }

  #match(keep) {
    if (!keep) this.pair = this.listed = null;
    if (!this.pictures.a || !this.pictures.b) return;
    this.wanted = ++this.count;
    this.worker.postMessage({ kind: "match", number: this.wanted });
  }

  _progress({ text, done, total }) {
    if (!this.broken) this.on.progress(text, done, total);
  }

  _ready({ manifest, place }) {
    this.manifest = manifest;
    this.on.ready(manifest, place);
  }

  _encoded({ number, fine }) {
    const picture = Object.values(this.pictures).find((each) => each?.number === number);
    if (picture) picture.fine = fine;
  }

  _matched({ number, outputs, logOdds, ms }) {
    if (number !== this.wanted) return; // of a picture that was replaced
    this.wanted = null;
    const { a, b } = this.pictures;
    const [sizes, fine] = [{ a: a.size, b: b.size }, { a: a.fine, b: b.fine }];
    this.pair = makePair(this.manifest, outputs, sizes, fine, logOdds);
    this.listed = null;
    this.current = number;
    this.on.matched(ms);
  }

  _listed({ number, matches, mutual }) {
    if (number !== this.current || !this.pair) return;
    this.listed = { matches, mutual };
    this.on.listed();
  }

  _error({ text, during, side }) {
    this.wanted = null;
    this.broken ||= during === "load"; // other files may still be arriving
    if (during === "picture") this.pictures[side] = null;
    this.on.failed(text, during);
  }

  // A place on which both directions agree, near the middle of A; else the middle.
  central() {
    const { a, b } = this.pair;
    const middle = { x: (a.size[1] - 1) / 2, y: (a.size[0] - 1) / 2 };
    let [best, nearest] = [middle, Infinity];
    a.index.forEach((match, cell) => {
      const point = a.cellPixel(cell);
      const distance = Math.hypot((point.x - middle.x) / a.size[1], (point.y - middle.y) / a.size[0]);
      if (b.index[match] === cell && distance < nearest) [best, nearest] = [point, distance];
    });
    return best;
  }

  // The trust below which a cell of `side` is hidden: a confidence in percent, or the weakest `percent` of scores.
  threshold(side, percent) {
    const way = this.pair[side];
    if (way.logOdds) return percent / 100;
    const sorted = Float32Array.from(way.score).sort();
    return sorted[Math.min(Math.floor((sorted.length * percent) / 100), sorted.length - 1)];
  }

  // Mutual matches of at least the trust of `percent`; none before they are listed.
  strong(percent) {
    const least = this.threshold("a", percent);
    return this.listed ? this.listed.mutual.filter(({ confidence, score }) => (confidence ?? score) >= least) : [];
  }

  // Where a match of a point of `side` lies when it is carried back, as a distance in pixels.
  returnDistance(side, point, match) {
    const back = this.pair[OTHER[side]].move(match);
    return Math.hypot(back.x - point.x, back.y - point.y);
  }
}
