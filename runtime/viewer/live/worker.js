// The worker: it keeps the network and the features of both pictures, so that pointing is never blocked.

import { Engine } from "./engine.js";
import { cellMatches, makePair, mutualMatches } from "./pair.js";

const pictures = { a: null, b: null }; // {size, tensors, fine} of each
let engine = null;
let pair = null;

// One job after another: the network takes all cores, and a later picture replaces an earlier one.
let queue = Promise.resolve();
self.onmessage = ({ data }) => {
  queue = queue.then(() => answer(data));
};

async function answer({ kind, ...values }) {
  try {
    await JOBS[kind](values);
  } catch (error) {
    self.postMessage({ kind: "error", during: kind, side: values.side, text: error.message ?? String(error) });
  }
}

const JOBS = {
  async load({ config }) {
    const onProgress = (text, done, total) => self.postMessage({ kind: "progress", text, done, total });
    engine = await Engine.open(config, onProgress);
    self.postMessage({ kind: "ready", manifest: engine.manifest, place: engine.place });
  },

  // A picture as an ImageBitmap of [height, width]; it is matched once both are there.
  async picture({ side, image, number }) {
    const size = [image.height, image.width];
    pictures[side] = null; // also if it cannot be encoded
    const started = performance.now();
    const pixels = readPixels(image);
    pictures[side] = await engine.encode(pixels, size);
    const { fine } = pictures[side];
    self.postMessage({ kind: "encoded", side, number, size, fine, ms: performance.now() - started });
  },

  async swap() {
    [pictures.a, pictures.b] = [pictures.b, pictures.a];
  },

  async clear({ side }) {
    pictures[side] = null;
  },

  async match({ number }) {
    const { a, b } = pictures;
    if (!a || !b) return;
    const started = performance.now();
    const outputs = await engine.match(a, b);
    pair = makePair(engine.manifest, outputs, { a: a.size, b: b.size }, { a: a.fine, b: b.fine });
    const logOdds = { a: pair.a.logOdds, b: pair.b.logOdds };
    self.postMessage({ kind: "matched", number, outputs, logOdds, ms: performance.now() - started });
    const matches = { a: cellMatches(pair.a), b: cellMatches(pair.b) };
    self.postMessage({ kind: "listed", number, matches, mutual: mutualMatches(pair, matches.a) });
  },
};

function readPixels(image) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  image.close();
  return context.getImageData(0, 0, canvas.width, canvas.height).data;
}
