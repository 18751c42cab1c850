// Pointer, keys and controls: what they change.

// `actions` are those of the page (live.js).
export function listenToControls(stages, state, controls, actions) {
  for (const stage of Object.values(stages)) {
    listenToPointer(stage, state, actions);
    listenToKeys(stage, state, actions);
  }
  const form = document.getElementById("controls");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    if (!actions.isMatched()) return;
    // In the other direction, the match becomes the point: this shows whether it leads back.
    if (event.target.name === "side" && event.target.value !== state.side) {
      actions.select(event.target.value, actions.match());
    }
    actions.repaint();
    actions.announce();
  });
  document.getElementById("swap").addEventListener("click", actions.swap);
  for (const button of document.querySelectorAll("#downloads button")) {
    button.addEventListener("click", () => actions.download(button.value));
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.pinned) {
      state.pinned = false;
      actions.repaint();
    }
  });
}

function listenToPointer(stage, state, actions) {
  const { side } = stage;
  stage.stage.addEventListener("pointermove", (event) => {
    if (!actions.isMatched() || state.pinned || event.pointerType === "touch") return;
    actions.select(side, stage.pointerPosition(event));
  });
  stage.stage.addEventListener("click", (event) => {
    if (!actions.isMatched()) return;
    // A finger cannot hover: each tap selects, and stays.
    state.pinned = event.pointerType === "touch" || !state.pinned;
    actions.select(side, stage.pointerPosition(event));
  });
}

function listenToKeys(stage, state, actions) {
  const { side } = stage;
  stage.stage.addEventListener("keydown", (event) => {
    if (!actions.isMatched() || event.target !== stage.stage) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in ARROWS) {
      const [dx, dy] = ARROWS[event.key];
      const step = event.shiftKey ? { x: 1, y: 1 } : actions.step(side);
      const start = side === state.side ? state.point : actions.match();
      actions.select(side, { x: start.x + dx * step.x, y: start.y + dy * step.y });
    } else if (event.key === "Enter" || event.key === " ") {
      state.pinned = !state.pinned;
    } else if (event.key === "Escape") {
      state.pinned = false;
    } else {
      return;
    }
    event.preventDefault();
    actions.repaint();
    actions.announce();
  });
}
