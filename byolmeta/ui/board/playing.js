// ---------------------------------------------------------------- the adaptation, step by step
//
// While it is played, the cards show what each picture was taken for after that step, and those that have just changed
// sides light up. labels: for each picture the index in box_ids of its box, or -1; how sure, a step does not say.

window.addEventListener("byolmeta-step", (event) => {
  if (!root.isConnected) return;
  const { step, labels, box_ids: boxIds, flipped } = event.detail ?? {};
  const any = flipped?.length > 0 || (step > 1 && Boolean(played?.any));
  played = event.detail ? { labels, boxIds, order: [], flipped: new Set(flipped), any } : null;
  if (drag) waiting.add("step"); // what a hand holds stays where it is
  else drawStep();
}, { signal });

function drawStep() {
  const before = filter;
  indexBoxes();
  if (before !== filter) restart();
  computeView();
  drawChips();
  drawTray();
  root.classList.toggle("bm-playing", Boolean(played));
  if (played && !calm.matches) for (const row of rows.values()) [...row.children].forEach(flash);
}

function flash(card) {
  if (!card.classList.contains("bm-flipped")) return;
  card.flash = card.animate(
    [{ outline: "3px solid var(--text)", outlineOffset: "1px" }, { outline: "3px solid transparent", outlineOffset: "1px" }],
    { duration: 900, easing: "ease-in" },
  );
}
