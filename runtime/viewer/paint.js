// Painting over a picture. A canvas covers its picture exactly.

const RASTER = 160; // pixels along the longer side to which cell values are interpolated

// A canvas for the whole picture from one value (0 to 1) for each cell, interpolated bilinearly;
// colour(value) -> [r, g, b, a].
function interpolate(pair, side, values, colour) {
  const [rows, columns] = pair.grid[side];
  const picture = pair.pictures[side];
  const scale = RASTER / Math.max(picture.width, picture.height);
  const width = Math.max(Math.round(picture.width * scale), 2);
  const height = Math.max(Math.round(picture.height * scale), 2);
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const raster = context.createImageData(width, height);
  for (let y = 0; y < height; y++) {
    const v = (y / (height - 1)) * (rows - 1);
    const top = Math.min(Math.floor(v), Math.max(rows - 2, 0));
    const bottom = Math.min(top + 1, rows - 1);
    for (let x = 0; x < width; x++) {
      const u = (x / (width - 1)) * (columns - 1);
      const left = Math.min(Math.floor(u), Math.max(columns - 2, 0));
      const right = Math.min(left + 1, columns - 1);
      const upper = values[top * columns + left] * (1 - u + left) + values[top * columns + right] * (u - left);
      const lower = values[bottom * columns + left] * (1 - u + left) + values[bottom * columns + right] * (u - left);
      raster.data.set(colour(upper * (1 - v + top) + lower * (v - top)), (y * width + x) * 4);
    }
  }
  context.putImageData(raster, 0, 0);
  return canvas;
}

// The scores of one cell for the other picture: dark where low, bright where high.
function paintHeat(context, pair, map, side, cell) {
  const there = OTHER[side];
  const cells = pair.grid[there][0] * pair.grid[there][1];
  const steps = pair.maps[map][side].steps.subarray(cell * cells, (cell + 1) * cells);
  const values = Float32Array.from(steps, (step) => step / pair.levels);
  const heat = interpolate(pair, there, values, (v) => [...colourAt(HEAT, v), 125 + 115 * v]);
  context.drawImage(heat, 0, 0, context.canvas.width, context.canvas.height);
}

// The attention of a picture: from the context branch to the local branch.
function paintAttention(context, pair, side) {
  const values = Float32Array.from(pair.attention[side], (byte) => byte / 255);
  const attention = interpolate(pair, side, values, (v) => [...colourAt(ATTENTION, v), 120]);
  context.drawImage(attention, 0, 0, context.canvas.width, context.canvas.height);
}

// The rectangle of points whose nearest cell is `cell`, in pixels of the canvas.
function cellRectangle(canvas, pair, side, cell) {
  const { width, height } = pair.pictures[side];
  const step = spacing(pair, side);
  const centre = cellPixel(pair, side, cell);
  const sx = canvas.width / width;
  const sy = canvas.height / height;
  const left = Math.max(centre.x - step.x / 2 + 0.5, 0) * sx;
  const top = Math.max(centre.y - step.y / 2 + 0.5, 0) * sy;
  const right = Math.min(centre.x + step.x / 2 + 0.5, width) * sx;
  const bottom = Math.min(centre.y + step.y / 2 + 0.5, height) * sy;
  return [left, top, right, bottom];
}

// Fades cells whose trust, one of `trusted` each, is less than `least`.
function paintVeil(context, pair, side, trusted, least, colour) {
  context.fillStyle = colour;
  trusted.forEach((value, cell) => {
    if (value < least) {
      const [left, top, right, bottom] = cellRectangle(context.canvas, pair, side, cell).map(Math.round);
      context.fillRect(left, top, right - left, bottom - top); // whole pixels: no seams
    }
  });
}

// The outline of one cell.
function paintCell(context, pair, side, cell, ratio) {
  const [left, top, right, bottom] = cellRectangle(context.canvas, pair, side, cell);
  for (const [colour, width] of [["rgb(0 0 0 / .55)", 3], ["rgb(255 255 255 / .9)", 1]]) {
    context.strokeStyle = colour;
    context.lineWidth = width * ratio;
    context.strokeRect(left, top, right - left, bottom - top);
  }
}

// Mutual matches, coloured by their place in A.
function paintMatches(context, pair, side, matches, ratio) {
  const { width, height } = pair.pictures[side];
  for (const match of matches) {
    const point = match[side];
    const x = ((point.x + 0.5) / width) * context.canvas.width;
    const y = ((point.y + 0.5) / height) * context.canvas.height;
    for (const [radius, colour] of [[4.5, "rgb(0 0 0 / .6)"], [3.5, placeColour(pair, match.cell)]]) {
      context.beginPath();
      context.arc(x, y, radius * ratio, 0, 2 * Math.PI);
      context.fillStyle = colour;
      context.fill();
    }
  }
}
