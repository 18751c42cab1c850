// What the page of a pair (page.js) and the live page (live/live.js) have in common.

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const formatPoint = (point) => `${point.x.toFixed(1)}, ${point.y.toFixed(1)}`;
const formatScore = (score) => (score === 0 || score >= 0.001 ? score.toPrecision(3) : score.toExponential(1));

// What the slider hides: cells below `least`, a confidence if `confident`, else a score.
function hiddenCells(percent, least, confident) {
  if (percent === 0) return "all cells shown";
  if (confident) return `below ${least.toFixed(2)} hidden`;
  return `weakest ${percent} % hidden: below ${formatScore(least)}`;
}

// The button names what a click does.
function listenToTheme(repaint) {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const refresh = () => {
    button.textContent = isDark() ? "Light theme" : "Dark theme";
    repaint();
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    refresh();
  });
  dark.addEventListener("change", refresh);
  refresh();
}
