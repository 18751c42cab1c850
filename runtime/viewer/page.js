// The page: the selected point, what is shown for it, and the controls that change either.

const byId = (id) => document.getElementById(id);
const controls = byId("controls").elements;
const stages = {};
for (const figure of document.querySelectorAll("figure")) {
  const stage = figure.querySelector(".stage");
  stages[figure.dataset.side] = {
    figure,
    stage,
    image: figure.querySelector("img"),
    context: figure.querySelector("canvas").getContext("2d"),
    marker: figure.querySelector(".marker"),
  };
}

let pair = null;
let matches = [];
const state = { side: "a", point: { x: 0, y: 0 }, pinned: false };

const checked = (name) => controls[name].checked;
const chosenMap = () => controls.map.value;

function clampToPicture(side, point) {
  const { width, height } = pair.pictures[side];
  return { x: clamp(point.x, 0, width - 1), y: clamp(point.y, 0, height - 1) };
}

function selectPoint(side, point) {
  state.side = side;
  state.point = clampToPicture(side, point);
  controls.side.value = side;
  requestPaint();
}

let paintRequested = false;
function requestPaint() {
  if (!paintRequested) {
    paintRequested = true;
    requestAnimationFrame(() => {
      paintRequested = false;
      paint();
    });
  }
}

function paint() {
  const { side, point } = state;
  const there = OTHER[side];
  const map = chosenMap();
  const cell = nearestCell(pair, side, point);
  const match = transfer(pair, map, side, point);
  const percent = Number(controls.confidence.value);
  const least = threshold(pair, side, percent);
  const trusted = trust(pair, side);
  const weak = trusted[cell] < least;
  const ratio = window.devicePixelRatio || 1;
  const veil = getComputedStyle(document.documentElement).getPropertyValue("--veil");
  const heat = checked("heat") && pair.maps[map][side].steps !== null;

  for (const { context, stage } of Object.values(stages)) {
    context.canvas.width = Math.round(stage.clientWidth * ratio);
    context.canvas.height = Math.round(stage.clientHeight * ratio);
  }
  const from = stages[side];
  const to = stages[there];
  if (checked("attention") && pair.attention) paintAttention(from.context, pair, side);
  if (heat) paintHeat(to.context, pair, map, side, cell);
  if (checked("matches")) {
    const [trustA, leastA] = [trust(pair, "a"), threshold(pair, "a", percent)];
    const strong = matches.filter((match) => trustA[match.cell] >= leastA);
    for (const name of ["a", "b"]) paintMatches(stages[name].context, pair, name, strong, ratio);
  }
  paintVeil(from.context, pair, side, trusted, least, veil);
  paintCell(from.context, pair, side, cell, ratio);
  to.stage.classList.toggle("under-heat", heat);
  from.stage.classList.remove("under-heat");
  placeMarker(side, point, "here");
  placeMarker(there, match, weak ? "match weak" : "match");
  updateReadout(side, point, match, map, cell, percent, least, weak);
}

function placeMarker(side, point, kind) {
  const { marker } = stages[side];
  const { width, height } = pair.pictures[side];
  marker.hidden = false;
  marker.className = `marker ${kind}`;
  marker.style.left = `${((point.x + 0.5) / width) * 100}%`;
  marker.style.top = `${((point.y + 0.5) / height) * 100}%`;
}

function updateReadout(side, point, match, map, cell, percent, least, weak) {
  const there = OTHER[side];
  const entry = pair.maps[map][side];
  const score = entry.score[cell];
  byId("from-label").textContent = side.toUpperCase();
  byId("to-label").textContent = there.toUpperCase();
  byId("from").textContent = formatPoint(point);
  byId("to").textContent = formatPoint(match);
  byId("score").textContent = formatScore(score);
  const weaker = entry.score.filter((other) => other < score).length;
  byId("rank").textContent = `above ${Math.round((100 * weaker) / entry.score.length)} % of the cells`;
  const back = transfer(pair, map, there, match);
  const distance = Math.hypot(back.x - point.x, back.y - point.y);
  byId("back").textContent = `${distance.toFixed(1)} px away`;
  byId("state").textContent = [
    state.pinned ? "Pinned." : "",
    weak ? "Below the selected confidence." : "",
  ].join(" ");
  if (pair.confidence) byId("probability").textContent = confidenceAt(pair, side, point).toFixed(2);
  byId("least").textContent = hiddenCells(percent, least, pair.confidence !== null);
  if (entry.steps) {
    byId("lowest").textContent = formatScore(entry.lowest[cell]);
    byId("highest").textContent = formatScore(score);
  }
  byId("heat-legend").hidden = !entry.steps || !checked("heat");
  byId("attention-legend").hidden = !(pair.attention && checked("attention"));
}

let announcementTimer = 0;
// Tells screen readers the match, once the point has stopped moving.
function announce() {
  clearTimeout(announcementTimer);
  announcementTimer = setTimeout(() => {
    const text = (id) => byId(id).textContent;
    byId("announcement").textContent =
      `${text("from-label")} ${text("from")} matches ${text("to-label")} ${text("to")}, ` +
      `score ${text("score")}${pair.confidence ? `, confidence ${text("probability")}` : ""}. ${text("state")}`;
  }, 300);
}

// The pointer's position in pixels of the picture.
function pointerPosition(side, event) {
  const box = stages[side].stage.getBoundingClientRect();
  const { width, height } = pair.pictures[side];
  return {
    x: ((event.clientX - box.left) / box.width) * width - 0.5,
    y: ((event.clientY - box.top) / box.height) * height - 0.5,
  };
}

function listenToPointer(side) {
  const { stage } = stages[side];
  stage.addEventListener("pointermove", (event) => {
    if (!state.pinned && event.pointerType !== "touch") selectPoint(side, pointerPosition(side, event));
  });
  stage.addEventListener("click", (event) => {
    if (event.pointerType === "touch") state.pinned = false;
    else state.pinned = !state.pinned;
    selectPoint(side, pointerPosition(side, event));
  });
}

function listenToKeys(side) {
  const { stage } = stages[side];
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in ARROWS) {
      const [dx, dy] = ARROWS[event.key];
      const step = event.shiftKey ? { x: 1, y: 1 } : spacing(pair, side);
      const start = side === state.side ? state.point : currentMatch();
      selectPoint(side, { x: start.x + dx * step.x, y: start.y + dy * step.y });
    } else if (event.key === "Enter" || event.key === " ") {
      state.pinned = !state.pinned;
    } else if (event.key === "Escape") {
      state.pinned = false;
    } else {
      return;
    }
    event.preventDefault();
    requestPaint();
    announce();
  });
}

const currentMatch = () => transfer(pair, chosenMap(), state.side, state.point);

function listenToControls() {
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("controls").addEventListener("input", (event) => {
    // In the other direction, the match becomes the point: this shows whether it leads back.
    if (event.target.name === "side") selectPoint(event.target.value, currentMatch());
    requestPaint();
    announce();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.pinned) {
      state.pinned = false;
      requestPaint();
    }
  });
}

// Fills in everything that does not change.
function fillPage() {
  byId("network").textContent = pair.network;
  for (const side of ["a", "b"]) {
    const { name, width, height, source } = pair.pictures[side];
    const { figure, stage, image } = stages[side];
    image.src = source;
    image.alt = `Picture ${side.toUpperCase()}: ${name}`;
    stage.setAttribute("aria-label", `Picture ${side.toUpperCase()}, ${name}: select a point`);
    figure.style.setProperty("--ratio", width / height);
    figure.querySelector(".name").textContent = name;
    figure.querySelector(".size").textContent = `${width} × ${height}`;
  }
  const ratio = ({ width, height }) => width / height;
  byId("pictures").style.setProperty("--ratios", ratio(pair.pictures.a) + ratio(pair.pictures.b));
  const plain = pair.maps.fused.a.steps === null;
  byId("plain").hidden = !plain;
  byId("heat-choice").hidden = plain;
  byId("maps").hidden = Object.keys(pair.maps).length === 1;
  byId("attention-choice").hidden = pair.attention === null;
  byId("confidence-entry").hidden = pair.confidence === null;
  byId("heat-legend").querySelector("i").style.background = gradient(HEAT);
  byId("attention-legend").querySelector("i").style.background = gradient(ATTENTION);
  byId("accuracy").textContent =
    "Coordinates are pixels of the original pictures: 0-based, x right, y down. " +
    "Scores are probabilities; compare them with each other, not with 1." +
    (pair.confidence ? ` Confidence is the ${pair.confidence_meaning}.` : "") +
    (plain
      ? ""
      : ` Heat maps show the scores of the outlined cell in ${pair.levels + 1} steps, uniform in the square root: ` +
        `they differ by at most ${formatScore(pair.largest_error)} from the network's; the printed score is exact.`);
}

function start() {
  fillPage();
  matches = mutualMatches(pair);
  const { width, height } = pair.pictures.a;
  const distanceToCentre = (match) => Math.hypot(match.a.x / width - 0.5, match.a.y / height - 0.5);
  const central = [...matches].sort((one, other) => distanceToCentre(one) - distanceToCentre(other))[0];
  selectPoint("a", central ? central.a : { x: width / 2, y: height / 2 });
  for (const side of ["a", "b"]) {
    listenToPointer(side);
    listenToKeys(side);
  }
  listenToControls();
  listenToTheme(requestPaint);
  new ResizeObserver(requestPaint).observe(byId("pictures"));
  document.body.dataset.ready = "";
}

if (typeof DecompressionStream === "undefined" || typeof OffscreenCanvas === "undefined") {
  byId("state").textContent = "This browser is too old: use Chrome 111, Firefox 113, Safari 16.4, or a later one.";
} else {
  readPair(JSON.parse(byId("data").textContent))
    .then((read) => {
      pair = read;
      start();
    })
    .catch((error) => {
      byId("state").textContent = `This page is damaged (${error.message}): write it again with dcc view.`;
      throw error;
    });
}
