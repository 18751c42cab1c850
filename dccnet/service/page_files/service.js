// The page: two pictures go to the server together, and so does each point that is selected. They are matched
// again when another way of matching is chosen.

import { clamp, OTHER, spacing } from "./geometry.js";
import { listenToFiles } from "./inputs.js";
import { Stage } from "./stage.js";

const byId = (id) => document.getElementById(id);
const figures = [...document.querySelectorAll("figure")];
const stages = Object.fromEntries(figures.map((figure) => [figure.dataset.side, new Stage(figure)]));
const blobs = { a: null, b: null };
const state = { model: null, mutual: null, side: "a", point: null, token: "", pair: 0 };

function say(text, { wrong = false, working = false } = {}) {
  byId("message").textContent = text;
  byId("message").classList.toggle("wrong", wrong);
  byId("progress").hidden = !working;
}

// The answer to a request; null where there is none, which is said.
async function ask(path, options = {}) {
  const headers = state.token ? { Authorization: `Bearer ${state.token}` } : {};
  let response = null;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    say("The server does not answer.", { wrong: true });
    return null;
  }
  const content = await response.json();
  if (response.ok) return content;
  if (response.status === 401) {
    byId("access").hidden = false;
    byId("token").focus();
    say(state.token ? "This token is wrong." : "");
  } else {
    say(`${content.detail[0].toUpperCase()}${content.detail.slice(1)}.`, { wrong: true });
  }
  return null;
}

async function start() {
  state.model = await ask("v1/model");
  if (!state.model) return;
  byId("access").hidden = true;
  const { name, grid, confidence, limits } = state.model;
  for (const option of [...byId("views").options]) option.hidden = option.disabled = option.value > limits.views;
  byId("network").textContent = `${name}, ${grid.join("×")} cells`;
  byId("confidence-entry").hidden = !confidence;
  byId("meaning").textContent =
    "Coordinates are pixels of the pictures: 0-based, x right, y down." +
    (confidence ? ` Confidence is the ${confidence}.` : "");
  document.body.dataset.ready = "";
  sayWhatIsNext();
  if (blobs.a && blobs.b) match();
}

function sayWhatIsNext() {
  if (!blobs.a && !blobs.b) say("Two pictures, please.");
  else if (!blobs.a || !blobs.b) say(`Picture ${blobs.a ? "B" : "A"}, please.`);
}

async function take(side, blob, name) {
  let image = null;
  try {
    image = await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch {
    say(`${name || "This"} is no picture that this browser can show.`, { wrong: true });
    return;
  }
  blobs[side] = blob;
  stages[side].show(image, [image.height, image.width], name || "pasted picture");
  const ratio = (each) => (each.size ? each.size[1] / each.size[0] : 4 / 3);
  byId("pictures").style.setProperty("--ratios", ratio(stages.a) + ratio(stages.b));
  Object.assign(state, { mutual: null, point: null });
  byId("readout").hidden = true;
  paint();
  if (blobs.a && blobs.b && state.model) match();
  else if (state.model) sayWhatIsNext();
}

// A request about both pictures, in the ways that are chosen.
function aboutBoth(more) {
  return form({ a: blobs.a, b: blobs.b, mirror: byId("mirror").value, views: byId("views").value, ...more });
}

function form(fields) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) data.append(name, value);
  return { method: "POST", body: data };
}

async function match() {
  const pair = ++state.pair;
  say("Matching…", { working: true });
  const started = performance.now();
  const answer = await ask("v1/match", aboutBoth({}));
  if (!answer || pair !== state.pair) return;
  state.mutual = answer.mutual;
  byId("readout").hidden = false;
  byId("count").textContent = answer.mutual.scores.length;
  for (const name of ["from", "to", "probability", "score"]) byId(name).textContent = "–";
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const how = answer.mirrored ? "Matched with A mirrored" : "Matched";
  say(`${how} in ${seconds} s. Select a place.`);
  paint();
  document.body.dataset.matched = pair;
}

async function select(side, point) {
  if (!state.mutual) return;
  const [height, width] = stages[side].size;
  const inside = { x: clamp(point.x, 0, width - 1), y: clamp(point.y, 0, height - 1) };
  Object.assign(state, { side, point: inside });
  stages[OTHER[side]].marker.hidden = true;
  stages[side].placeMarker(inside, "here");
  say("Matching…", { working: true });
  const points = JSON.stringify([[inside.x, inside.y]]);
  const answer = await ask("v1/match", aboutBoth({ from: side, points }));
  if (!answer || state.point !== inside) return; // another place was selected meanwhile
  const [x, y] = answer.points[`points_${OTHER[side]}`][0];
  const sure = answer.points.confidence?.[0];
  stages[OTHER[side]].placeMarker({ x, y }, sure < 0.5 ? "match weak" : "match");
  byId("from-label").textContent = side.toUpperCase();
  byId("to-label").textContent = OTHER[side].toUpperCase();
  byId("from").textContent = formatPoint(inside);
  byId("to").textContent = formatPoint({ x, y });
  byId("score").textContent = formatScore(answer.points.scores[0]);
  if (sure !== undefined) byId("probability").textContent = sure.toFixed(2);
  byId("announcement").textContent = `${byId("from").textContent} matches ${byId("to").textContent}`;
  say("");
  document.body.dataset.selected = byId("from").textContent;
}

// The colour of a place of A, as in drawings.
function colourOf([x, y]) {
  const [height, width] = stages.a.size;
  const [right, down] = [x / Math.max(width - 1, 1), y / Math.max(height - 1, 1)];
  return css(mix(mix(PLACE[0], PLACE[1], right), mix(PLACE[2], PLACE[3], right), down));
}

function paint() {
  for (const side of ["a", "b"]) {
    const hidden = stages[side].marker.hidden || !state.point;
    stages[side].clear();
    stages[side].marker.hidden = hidden;
    if (!state.mutual) continue;
    const { points_a: inA, [`points_${side}`]: here } = state.mutual;
    stages[side].paintDots(here.map(([x, y], i) => ({ x, y, colour: colourOf(inA[i]) })));
  }
}

for (const stage of Object.values(stages)) {
  stage.stage.addEventListener("click", (event) => {
    if (state.mutual && !event.target.closest("label")) select(stage.side, stage.pointerPosition(event));
  });
  stage.stage.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    if (!arrow || !state.mutual) return;
    event.preventDefault();
    const step = spacing(stage.size, state.model.grid);
    const [height, width] = stage.size;
    const from = state.side === stage.side && state.point ? state.point : { x: width / 2, y: height / 2 };
    select(stage.side, { x: from.x + arrow[0] * step.x, y: from.y + arrow[1] * step.y });
  });
}
for (const choice of ["mirror", "views"]) {
  byId(choice).addEventListener("change", () => {
    Object.assign(state, { mutual: null, point: null });
    paint();
    if (blobs.a && blobs.b && state.model) match();
  });
}
byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = byId("token").value;
  start();
});
window.addEventListener("resize", paint);
listenToTheme(paint);
listenToFiles(figures, take, () => (blobs.a && !blobs.b ? "b" : "a"));
start();
