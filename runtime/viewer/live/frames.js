// Pictures in the size and type that the encoder takes: exactly the resizing of runtime/geometry.py, bilinear with
// aligned corners, and rounded after every operation as float32 is.

const { fround } = Math;

// For every row (or column) of the frame: the pixel before, the pixel after, and the weight of the latter.
function tapsAt(positions, side, round) {
  const before = new Int32Array(positions.length);
  const after = new Int32Array(positions.length);
  const weight = new Float32Array(positions.length);
  positions.forEach((position, i) => {
    before[i] = Math.min(Math.trunc(position), Math.max(side - 2, 0));
    after[i] = Math.min(before[i] + 1, side - 1);
    weight[i] = round(position - before[i]);
  });
  return { before, after, weight };
}

function exactTaps(side, target) {
  const step = (side - 1) / Math.max(target - 1, 1);
  return tapsAt(Float64Array.from({ length: target }, (_, i) => i * step), side, (value) => value);
}

// The positions that PyTorch computes in float32: torch.linspace(-1, 1, target), which counts from both ends, and
// grid_sample, from [-1, 1] to pixels.
function pytorchTaps(side, target) {
  const step = fround(2 / Math.max(target - 1, 1));
  const half = fround((side - 1) / 2);
  const positions = Float32Array.from({ length: target }, (_, i) => {
    const normalised = fround(i < Math.floor(target / 2) ? step * i - 1 : 1 - step * (target - 1 - i));
    return fround(fround(normalised + 1) * half);
  });
  return tapsAt(positions, side, fround);
}

// RGBA bytes of a picture of [height, width] -> the frame {size, dtype}, BGR, from 0 to 255. Transparency is dropped.
export function makeFrame(pixels, [height, width], { size, dtype }) {
  const whole = dtype === "uint8";
  const [rows, columns] = size;
  const frame = new (whole ? Uint8Array : Float32Array)(rows * columns * 3);
  if (whole && rows === height && columns === width) {
    for (let i = 0, j = 0; i < frame.length; i += 3, j += 4) {
      frame[i] = pixels[j + 2];
      frame[i + 1] = pixels[j + 1];
      frame[i + 2] = pixels[j];
    }
    return frame;
  }
  const taps = whole ? exactTaps : pytorchTaps;
  const down = taps(height, rows);
  const right = taps(width, columns);
  const line = new Float32Array(width * 4); // one row between two of the picture
  for (let row = 0, at = 0; row < rows; row++) {
    const upper = down.before[row] * width * 4;
    const lower = down.after[row] * width * 4;
    const share = down.weight[row];
    for (let i = 0; i < line.length; i++) {
      const top = pixels[upper + i];
      line[i] = fround((pixels[lower + i] - top) * share) + top;
    }
    for (let column = 0; column < columns; column++) {
      const before = right.before[column] * 4;
      const after = right.after[column] * 4;
      for (let channel = 2; channel >= 0; channel--) {
        const left = line[before + channel];
        const value = fround(fround(fround(line[after + channel] - left) * right.weight[column]) + left);
        frame[at++] = whole ? fround(value + 0.5) : value; // a Uint8Array cuts the fraction off
      }
    }
  }
  return frame;
}
