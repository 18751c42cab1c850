// A picture on the page, with what is painted over it.

import { cellPixel, spacing } from "./geometry.js";

const LARGEST = 1600; // pixels along the longer side of a picture as it is shown

export class Stage {
  constructor(figure) {
    const [picture, overlay] = figure.querySelectorAll("canvas");
    Object.assign(this, { figure, picture, side: figure.dataset.side, stage: figure.querySelector(".stage") });
    this.marker = figure.querySelector(".marker");
    this.context = overlay.getContext("2d");
    this.size = null; // [height, width] of the picture
  }

  // Shows an ImageBitmap or canvas; `size` is that of the original.
  show(image, size, name) {
    const scale = Math.min(LARGEST / Math.max(image.width, image.height), 1);
    this.picture.width = Math.max(Math.round(image.width * scale), 1);
    this.picture.height = Math.max(Math.round(image.height * scale), 1);
    const context = this.picture.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, this.picture.width, this.picture.height);
    this.size = size;
    this.figure.classList.remove("empty");
    this.figure.style.setProperty("--ratio", size[1] / size[0]);
    this.figure.querySelector(".name").textContent = name;
    this.figure.querySelector(".size").textContent = `${size[1]} × ${size[0]}`;
    this.stage.setAttribute("aria-label", `Picture ${this.side.toUpperCase()}, ${name}: select a point`);
  }

  // Removes everything from above the picture.
  clear() {
    const ratio = window.devicePixelRatio || 1;
    const { canvas } = this.context;
    canvas.width = Math.round(this.stage.clientWidth * ratio);
    canvas.height = Math.round(this.stage.clientHeight * ratio);
    this.marker.hidden = true;
    this.stage.classList.remove("under-heat");
  }

  placeMarker(point, kind) {
    const [height, width] = this.size;
    this.marker.hidden = false;
    this.marker.className = `marker ${kind}`;
    this.marker.style.left = `${((point.x + 0.5) / width) * 100}%`;
    this.marker.style.top = `${((point.y + 0.5) / height) * 100}%`;
  }

  // The pointer's position in pixels of the picture.
  pointerPosition(event) {
    const box = this.stage.getBoundingClientRect();
    const [height, width] = this.size;
    return {
      x: ((event.clientX - box.left) / box.width) * width - 0.5,
      y: ((event.clientY - box.top) / box.height) * height - 0.5,
    };
  }

  // Scores over the cells of this picture: dark where low, bright where high, as in the page of a pair. Without
  // `everywhere`, only those around the best match are known, and nothing is painted elsewhere.
  paintHeat(scores, [rows, columns], everywhere) {
    let [lowest, highest] = [Infinity, -Infinity];
    for (const score of scores) {
      lowest = Math.min(lowest, score);
      highest = Math.max(highest, score);
    }
    const small = new OffscreenCanvas(columns, rows);
    const raster = new ImageData(columns, rows);
    scores.forEach((score, cell) => {
      const share = Math.sqrt((score - lowest) / (highest - lowest || 1));
      const opacity = everywhere ? 125 + 115 * share : 240 * Math.sqrt(share);
      raster.data.set([...colourAt(HEAT, share), opacity], cell * 4);
    });
    small.getContext("2d").putImageData(raster, 0, 0);
    const { canvas } = this.context;
    // The centres of the outer cells lie on the border of the picture.
    this.context.drawImage(small, 0.5, 0.5, columns - 1, rows - 1, 0, 0, canvas.width, canvas.height);
    this.stage.classList.toggle("under-heat", everywhere);
  }

  // The rectangle of points whose nearest cell is `cell`, in pixels of the canvas: left, top, right, bottom.
  #rectangle(cell, grid) {
    const [height, width] = this.size;
    const { canvas } = this.context;
    const step = spacing(this.size, grid);
    const { x, y } = cellPixel(cell, grid, this.size);
    return [
      (Math.max(x - step.x / 2 + 0.5, 0) * canvas.width) / width,
      (Math.max(y - step.y / 2 + 0.5, 0) * canvas.height) / height,
      (Math.min(x + step.x / 2 + 0.5, width) * canvas.width) / width,
      (Math.min(y + step.y / 2 + 0.5, height) * canvas.height) / height,
    ];
  }

  // Fades the cells that are trusted less than `least`.
  paintVeil(trust, least, grid) {
    this.context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--veil");
    trust.forEach((value, cell) => {
      if (value >= least) return;
      const [left, top, right, bottom] = this.#rectangle(cell, grid).map(Math.round); // whole pixels: no seams
      this.context.fillRect(left, top, right - left, bottom - top);
    });
  }

  paintCell(cell, grid) {
    const [left, top, right, bottom] = this.#rectangle(cell, grid);
    for (const [colour, width] of [["rgb(0 0 0 / .55)", 3], ["rgb(255 255 255 / .9)", 1]]) {
      this.context.strokeStyle = colour;
      this.context.lineWidth = width * (window.devicePixelRatio || 1);
      this.context.strokeRect(left, top, right - left, bottom - top);
    }
  }

  // Dots at [{x, y, colour}], in pixels of the picture.
  paintDots(dots) {
    const ratio = window.devicePixelRatio || 1;
    for (const { x, y, colour } of dots) {
      paintDot(this.context, this.onCanvas({ x, y }), 3.5 * ratio, ratio, colour);
    }
  }

  onCanvas(point, { width, height } = this.context.canvas) {
    return { x: ((point.x + 0.5) / this.size[1]) * width, y: ((point.y + 0.5) / this.size[0]) * height };
  }
}

export function paintDot(context, { x, y }, radius, border, colour) {
  for (const [size, fill] of [[radius + border, "rgb(0 0 0 / .6)"], [radius, colour]]) {
    context.beginPath();
    context.arc(x, y, size, 0, 2 * Math.PI);
    context.fillStyle = fill;
    context.fill();
  }
}
