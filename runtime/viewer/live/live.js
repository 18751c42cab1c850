// The page: what comes in, the selected point, and what is shown for it.

import { chooseMatches } from "./choosing.js";
import { listenToControls } from "./controls.js";
import { drawing, MOST_LINES, save, toCsv, toJson } from "./downloads.js";
import { clamp, OTHER, spacing } from "./geometry.js";
import { Camera, listenToFiles } from "./inputs.js";
import { Session } from "./session.js";
import { Stage } from "./stage.js";

const byId = (id) => document.getElementById(id);
const controls = byId("controls").elements;
const figures = [...document.querySelectorAll("figure")];
const stages = Object.fromEntries(figures.map((figure) => [figure.dataset.side, new Stage(figure)]));
const camera = new Camera(byId("video"));
const state = { side: "a", point: null, pinned: false };
let session = null;

// A line above the pictures; `share` is of a progress bar, null for one without an end, undefined for none.
function say(text, share, wrong = false) {
  byId("message").textContent = text;
  byId("message").classList.toggle("wrong", wrong);
  const bar = byId("progress");
  bar.hidden = share === undefined;
  if (typeof share === "number") bar.value = share;
  else bar.removeAttribute("value");
}

function sayWhatIsNext(ms) {
  const { a, b } = session.pictures;
  if (session.waiting) say("Matching…", null);
  else if (session.pair) say(ms ? `Matched in ${(ms / 1000).toFixed(1)} s.` : "");
  else if (!a && !b) say("Ready: two pictures, please.");
  else say(`Ready: picture ${a ? "B" : "A"}, please.`);
}

const EVENTS = {
  progress(text, done, total) {
    const size = `${(done / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
    say(total ? `${text} the network, ${size}` : `${text} the network…`, total ? done / total : null);
  },
  ready(manifest, place) {
    const cells = manifest.grid.join("×");
    byId("network").textContent = `${session.name}, ${cells} cells, ${place}`;
    const { confidence } = manifest;
    byId("confidence-entry").hidden = !confidence;
    byId("meaning").textContent =
      "Coordinates are pixels of the pictures: 0-based, x right, y down. Scores are probabilities; compare them with " +
      "each other, not with 1." +
      (confidence
        ? ` Confidence is the probability that a point lies within ${Number((100 * confidence.within).toPrecision(6))} % of the longer side of ` +
          "its picture."
        : "");
    document.body.dataset.ready = "";
    sayWhatIsNext();
  },
  matched(ms) {
    for (const side of ["a", "b"]) show(side);
    byId("results").hidden = false;
    byId("heat-choice").hidden = session.pair.a.rule === "cells";
    if (!state.pinned || !state.point) Object.assign(state, { side: "a", point: session.central(), pinned: false });
    sayWhatIsNext(ms);
    select(state.side, state.point);
    document.body.dataset.matched = session.current;
    if (camera.running) nextFrame();
  },
  listed() {
    byId("downloads").disabled = false;
    document.body.dataset.listed = session.current;
    requestPaint();
  },
  failed(text, during) {
    if (during === "load") document.body.dataset.failed = "";
    stopCamera();
    say(text.endsWith(".") ? text : `${text}.`, undefined, true);
    requestPaint();
  },
};

function show(side) {
  const picture = session.pictures[side];
  if (!picture || stages[side].shown === picture) return;
  stages[side].shown = picture;
  stages[side].show(picture.image, picture.size, picture.name);
  const ratio = (each) => (each.size ? each.size[1] / each.size[0] : 4 / 3);
  byId("pictures").style.setProperty("--ratios", ratio(stages.a) + ratio(stages.b));
}

const BITMAP = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };

async function take(side, blob, name) {
  let image = null;
  try {
    image = await createImageBitmap(blob, BITMAP);
  } catch {
    say(`${name || "This"} is no picture that this browser can show.`, undefined, true);
    return;
  }
  if (side === "b") stopCamera();
  session.take(side, image, name || "pasted picture");
  changed(side);
}

// After a picture changed: what was selected belongs to another pair.
function changed(...sides) {
  for (const side of sides) show(side);
  state.pinned = false;
  byId("downloads").disabled = true;
  if (session.manifest && !session.broken) sayWhatIsNext();
  requestPaint();
}

async function startCamera() {
  try {
    await camera.start();
  } catch (error) {
    camera.stop();
    say(`The camera cannot be used (${error.message || error.name}).`, undefined, true);
    return;
  }
  markCamera();
  nextFrame();
}

function stopCamera() {
  camera.stop();
  markCamera();
}

function markCamera() {
  for (const button of document.querySelectorAll(".camera")) {
    button.setAttribute("aria-pressed", String(camera.running));
    if (button.closest(".tools")) button.textContent = camera.running ? "Freeze" : "Camera";
  }
}

async function nextFrame() {
  const image = await camera.frame();
  if (!camera.running) return;
  session.take("b", image, "camera", true);
  if (!session.pair) show("b");
}

function select(side, point) {
  const [height, width] = session.pair[side].size;
  state.side = side;
  state.point = { x: clamp(point.x, 0, width - 1), y: clamp(point.y, 0, height - 1) };
  controls.side.value = side;
  requestPaint();
}

let paintRequested = false;
function requestPaint() {
  if (paintRequested) return;
  paintRequested = true;
  requestAnimationFrame(() => {
    paintRequested = false;
    paint();
  });
}

function paint() {
  for (const stage of Object.values(stages)) stage.clear();
  const ready = session?.pair && state.point;
  document.body.classList.toggle("matched", Boolean(ready));
  if (!ready) return;
  const { side, point } = state;
  const way = session.pair[side];
  const [from, to] = [stages[side], stages[OTHER[side]]];
  const percent = Number(controls.confidence.value);
  const [trust, least] = [way.trust(), session.threshold(side, percent)];
  const cell = way.cell(point);
  const match = way.move(point);
  const scores = controls.heat.checked ? way.scores(point) : null;
  if (scores) to.paintHeat(scores, way.otherGrid, way.heatmap !== null);
  if (controls.mutual.checked) {
    const dots = session.strong(percent).map((each) => ({ ...each, colour: colourOf(each) }));
    stages.a.paintDots(dots.map(({ point, colour }) => ({ ...point, colour })));
    stages.b.paintDots(dots.map(({ match, colour }) => ({ ...match, colour })));
  }
  from.paintVeil(trust, least, way.grid);
  from.paintCell(cell, way.grid);
  const weak = trust[cell] < least;
  from.placeMarker(point, "here");
  to.placeMarker(match, weak ? "match weak" : "match");
  updateReadout(way, point, match, weak, hiddenCells(percent, least, Boolean(way.logOdds)));
}

const colourOf = ({ cell }) => placeColour({ grid: { a: session.pair.a.grid } }, cell);

function updateReadout(way, point, match, weak, least) {
  const { side } = state;
  const confidence = way.confidence(point);
  const texts = {
    "from-label": side.toUpperCase(),
    "to-label": OTHER[side].toUpperCase(),
    from: formatPoint(point),
    to: formatPoint(match),
    score: formatScore(way.score[way.cell(point)]),
    probability: confidence === null ? "" : confidence.toFixed(2),
    back: `${session.returnDistance(side, point, match).toFixed(1)} px away`,
    state: [state.pinned ? "Pinned." : "", weak ? "Below the selected confidence." : ""].join(" ").trim(),
    least,
  };
  for (const [id, text] of Object.entries(texts)) byId(id).textContent = text;
}

let announcementTimer = 0;
// Tells screen readers the match, once the point has stopped moving.
function announce() {
  clearTimeout(announcementTimer);
  announcementTimer = setTimeout(() => {
    const text = (id) => byId(id).textContent;
    byId("announcement").textContent =
      `${text("from-label")} ${text("from")} matches ${text("to-label")} ${text("to")}. ${text("state")}`;
  }, 300);
}

const ACTIONS = {
  select,
  announce,
  repaint: requestPaint,
  isMatched: () => Boolean(session?.pair),
  match: () => session.pair[state.side].move(state.point),
  step: (side) => spacing(session.pair[side].size, session.pair[side].grid),
  swap() {
    if (!session.pictures.a || !session.pictures.b) return;
    stopCamera();
    session.swap();
    changed("a", "b");
  },
  download(kind) {
    const { pair, listed } = session;
    if (!listed) return;
    if (kind === "json") save(new Blob([toJson(pair, listed.matches)], { type: "application/json" }), "matches.json");
    if (kind === "csv") save(new Blob([toCsv(pair, listed.matches)], { type: "text/csv" }), "matches.csv");
    if (kind !== "png") return;
    const strong = session.strong(Number(controls.confidence.value));
    const lines = chooseMatches(strong, stages, MOST_LINES).map((match) => ({ ...match, colour: colourOf(match) }));
    drawing(stages, lines).toBlob((blob) => save(blob, "matches.png"));
  },
};

async function start() {
  say("Loading…", null);
  const response = await fetch("page.json");
  if (!response.ok) throw new Error(`page.json is missing beside this page (HTTP ${response.status})`);
  const config = await response.json();
  session = new Session(config, EVENTS);
  session.name = config.name;
  listenToFiles(figures, take, () => (session.pictures.a ? "b" : "a"));
  listenToControls(stages, state, controls, ACTIONS);
  for (const button of document.querySelectorAll(".camera")) {
    button.addEventListener("click", () => (camera.running ? stopCamera() : startCamera()));
  }
  listenToTheme(requestPaint);
  new ResizeObserver(requestPaint).observe(byId("pictures"));
  for (const { side, file, name } of config.pictures) take(side, await (await fetch(file)).blob(), name);
}

if (typeof DecompressionStream === "undefined" || typeof OffscreenCanvas === "undefined") {
  say("This browser is too old: use Chrome 111, Firefox 114, Safari 16.4, or a later one.", undefined, true);
} else {
  start().catch((error) => {
    say(`This page cannot start (${error.message}): write the folder again with dcc view --live.`, undefined, true);
  });
}
