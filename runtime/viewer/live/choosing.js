// Which of many matches are worth drawing: trusted ones, apart from each other, on something to see.

import { clamp, extent } from "./geometry.js";

const SIDE = 400; // pixels along the longer side of the picture in which texture is measured
const REACH = 8; // half the side of the window around a point, in these pixels
const TEXTURED = 24; // standard deviation of grey levels from which on a place has texture enough
const APART = 0.12; // share of the picture from which on matches are far enough apart

// Up to `most` matches, the best first: the most trusted one that is left, less where either picture has no texture, as
// an even background, and less the nearer it is to one that is already chosen. `stages` show the pictures.
export function chooseMatches(matches, stages, most) {
  const textures = { point: texture(stages.a), match: texture(stages.b) };
  const sizes = { point: extent(stages.a.size), match: extent(stages.b.size) };
  const highest = Math.max(...matches.map(({ score }) => score));
  const left = matches.map((match) => ({
    match,
    // Scores differ by magnitudes.
    worth:
      (match.confidence ?? (match.score / highest) ** 0.25) *
      Math.min(textures.point(match.point), textures.match(match.match)),
    near: Infinity,
  }));
  const chosen = [];
  while (chosen.length < most && left.length) {
    const value = ({ worth, near }) => worth * Math.min(near / APART, 1);
    let best = 0;
    left.forEach((each, i) => {
      if (value(each) > value(left[best])) best = i;
    });
    const [{ match }] = left.splice(best, 1);
    chosen.push(match);
    for (const each of left) {
      for (const name of ["point", "match"]) {
        const [dx, dy] = ["x", "y"].map((axis) => (each.match[name][axis] - match[name][axis]) / sizes[name][axis]);
        each.near = Math.min(each.near, Math.hypot(dx, dy));
      }
    }
  }
  return chosen;
}

// -> how much a picture varies around a point of it, from 0.02 to 1.
function texture({ picture, size }) {
  const scale = Math.min(SIDE / Math.max(picture.width, picture.height), 1);
  const width = Math.max(Math.round(picture.width * scale), 1);
  const height = Math.max(Math.round(picture.height * scale), 1);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const grey = Float32Array.from(
    { length: width * height },
    (_, i) => 0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2],
  );
  return (point) => {
    const x = Math.round((point.x / Math.max(size[1] - 1, 1)) * (width - 1));
    const y = Math.round((point.y / Math.max(size[0] - 1, 1)) * (height - 1));
    let [count, sum, squares] = [0, 0, 0];
    for (let row = Math.max(y - REACH, 0); row <= Math.min(y + REACH, height - 1); row++) {
      for (let column = Math.max(x - REACH, 0); column <= Math.min(x + REACH, width - 1); column++) {
        const value = grey[row * width + column];
        count += 1;
        sum += value;
        squares += value * value;
      }
    }
    const deviation = Math.sqrt(Math.max(squares / count - (sum / count) ** 2, 0));
    return clamp(deviation / TEXTURED, 0.02, 1);
  };
}
