// How much of the window the map takes: so much that its bars stay in sight, or all of it in full screen.

const LEAST_HEIGHT = 340; // pixels of the stage, even where the window has less
const LEAST_CHANGE = 64; // pixels: a line that comes and goes above the map does not resize it

let room = 0; // pixels from the top of the stage to the end of the window, less the bars below it

// The style sheet says how high the stage is; this says how high it may be.
function fit(anew = true) {
  if (compact() || inFull() || !stage.offsetHeight) return;
  const below = find(".under").offsetHeight + 14;
  const left = Math.round(innerHeight - stage.getBoundingClientRect().top - scrollY - below);
  if (!anew && Math.abs(left - room) < LEAST_CHANGE) return;
  room = left;
  root.style.setProperty("--room", `${Math.max(LEAST_HEIGHT, room)}px`);
}

// ---- full screen

const full = find("[data-act=full]");
const inFull = () => document.fullscreenElement === root;

function markFull() {
  full.hidden = !document.fullscreenEnabled || compact();
  full.setAttribute("aria-pressed", inFull());
  full.title = word(inFull() ? "full_leave" : "full");
  full.setAttribute("aria-label", full.title);
}

function turnFull() {
  const done = inFull() ? document.exitFullscreen() : root.requestFullscreen();
  done.catch((problem) => console.info(`No full screen: ${problem.message}`));
}

on(full, "click", turnFull);
on(document, "fullscreenchange", () => { markFull(); fit(); measure(); });
on(window, "resize", () => fit());
const lengths = new ResizeObserver(() => fit(false));
lengths.observe(document.body);
