// Where pictures come from: dropped, chosen, pasted, or the camera.

// `take(side, blob, name)` is called for each picture; `emptySide()` is where the next one belongs.
export function listenToFiles(figures, take, emptySide) {
  const takeAll = (files, side) => {
    const pictures = [...files].filter((file) => !file.type || file.type.startsWith("image/"));
    const sides = pictures.length > 1 ? ["a", "b"] : [side];
    sides.forEach((each, i) => pictures[i] && take(each, pictures[i], pictures[i].name));
  };
  for (const figure of figures) {
    for (const input of figure.querySelectorAll("input[type=file]")) {
      input.addEventListener("change", () => {
        takeAll(input.files, figure.dataset.side);
        input.value = ""; // so that the same file can be chosen again
      });
    }
  }
  const figureOf = (event) => event.target.closest?.("figure");
  const mark = (marked) => figures.forEach((figure) => figure.classList.toggle("dragging", figure === marked));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(figureOf(event));
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) mark(null);
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(null);
    takeAll(event.dataTransfer.files, figureOf(event)?.dataset.side ?? emptySide());
  });
  document.addEventListener("paste", (event) => takeAll(event.clipboardData.files, emptySide()));
}

// The camera, whose frames are taken one at a time.
export class Camera {
  constructor(video) {
    this.video = video;
    this.stream = null;
  }

  get running() {
    return this.stream !== null;
  }

  // Throws where there is no camera, or it may not be used.
  async start() {
    if (!navigator.mediaDevices) throw new Error("browsers open it on https and on this machine's own pages only");
    const video = { facingMode: { ideal: "environment" }, width: { ideal: 1280 } };
    this.stream = await navigator.mediaDevices.getUserMedia({ video });
    this.video.srcObject = this.stream;
    await this.video.play();
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.video.srcObject = null;
  }

  frame() {
    return createImageBitmap(this.video);
  }
}
