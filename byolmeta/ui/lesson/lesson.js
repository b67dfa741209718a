// The bar of a lesson. Gradio runs this as a function body with element, trigger, props and watch, after CSS, LESSONS
// and WORDS.
// The address is all it knows of: ?lesson=NAME&step=N.

const bar = element.querySelector(".bm-lesson"), page = document.documentElement;
const find = (name) => bar.querySelector(`.${name}`);

function address(changes) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  return url;
}

const query = (name) => new URLSearchParams(location.search).getAll(name).at(-1); // the last, as the server does
const name = query("lesson");
const lesson = Object.hasOwn(LESSONS, name) ? LESSONS[name] : null;

function step() { // from 1
  const wanted = /^\d{1,3}$/.test(query("step") ?? "") ? Number(query("step")) : 1;
  return Math.min(Math.max(wanted, 1), lesson.steps.length);
}

let busy = !props.ready; // until Python has set the page
watch("ready", () => {
  busy = false;
  if (lesson) draw();
});

function draw() {
  const number = step(), { say, shows } = lesson.steps[number - 1];
  page.dataset.lesson = name;
  page.dataset.shows = shows.join(" ");
  find("say").textContent = say;
  const at = WORDS.at.replace("{number}", number).replace("{of}", lesson.steps.length);
  bar.querySelector("span").textContent = busy ? WORDS.moment : at;
  page.toggleAttribute("data-setting", busy);
  find("back").setAttribute("aria-disabled", number === 1);
  find("next").textContent = number === lesson.steps.length ? WORDS.finish : WORDS.next;
}

function walk(by) {
  const number = step() + by;
  if (number < 1) return;
  if (number > lesson.steps.length) return find("leave").click();
  history.replaceState(history.state, "", address({ step: number }));
  busy = true;
  draw();
  trigger("go");
}

if (!document.getElementById("bm-lesson-style")) {
  const style = document.createElement("style");
  style.id = "bm-lesson-style";
  style.textContent = CSS;
  document.head.append(style);
}
if (query("lesson") !== undefined) {
  bar.hidden = false;
  bar.setAttribute("aria-label", WORDS.lesson);
  for (const each of ["back", "next", "leave"]) find(each).textContent = WORDS[each];
  find("leave").href = address({ lesson: null, step: null });
  if (lesson) {
    bar.querySelector("h2").textContent = lesson.title;
    find("back").addEventListener("click", () => walk(-1));
    find("next").addEventListener("click", () => walk(1));
    draw();
  } else {
    bar.classList.add("unknown");
    find("say").textContent = WORDS.unknown;
    find("leave").textContent = WORDS.without;
    find("others").hidden = false;
    for (const [each, { title }] of Object.entries(LESSONS)) {
      const link = document.createElement("a");
      link.href = address({ lesson: each, step: null });
      link.textContent = title;
      find("others").append(link, " ");
    }
  }
}
