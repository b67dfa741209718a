// Takes pictures in. Gradio runs this as a function body with element, trigger and upload, after WORDS, MOST and SMALL.
// Names of files are text, never HTML.

const SENDERS = 4; // files on their way at once
const PICTURE = /\.(jpe?g|jfif|png|webp|bmp|gif|tiff?)$/i;
const root = element.querySelector(".bm-in");
const find = (name) => root.querySelector(`.${name}`);
const say = find("say"), note = find("note"), track = find("track"), bar = track.firstElementChild;
let run = 0; // number of the newest drop; older ones see it and end
let busy = false;
root.classList.toggle("small", SMALL);
element.parentElement.style.padding = 0; // in line with the blocks above and below

function word(name, values = {}) {
  let text = WORDS[name];
  for (const [key, value] of Object.entries(values)) text = text.split(`{${key}}`).join(value);
  return text;
}

function show(text, hint = "") {
  say.textContent = text;
  note.textContent = hint;
  note.hidden = !hint;
}

function rest(hint) {
  busy = false;
  track.hidden = find("cancel").hidden = true;
  find("files").hidden = false;
  find("folder").hidden = SMALL;
  show(word("drop"), hint);
}

const hidden = (path) => path.split("/").some((part) => part.startsWith(".") || part === "__MACOSX");

// Files of a dropped entry, with their paths from the dropped folder on.
async function walk(entry, path, found) {
  if (found.length > MOST) return;
  if (entry.isFile) {
    const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
    if (file) found.push({ file, name: path + file.name });
  } else if (entry.isDirectory) {
    const reader = entry.createReader();
    for (;;) { // a reader gives at most 100 entries at a time
      const part = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
      if (!part.length) return;
      for (const inner of part) await walk(inner, `${path}${entry.name}/`, found);
    }
  }
}

async function send(all) {
  const mine = ++run;
  const seen = all.filter(({ name }) => !hidden(name));
  const zip = !SMALL && seen.find(({ name }) => /\.zip$/i.test(name));
  let files = seen.filter(({ name }) => PICTURE.test(name)).slice(0, MOST);
  if (!files.length && zip) files = [zip];
  const left = seen.length - files.length;
  if (!files.length) return rest(word("none"));
  busy = true;
  track.hidden = find("cancel").hidden = false;
  find("files").hidden = find("folder").hidden = true;
  const sent = new Array(files.length);
  let at = 0, done = 0;
  const progress = () => {
    show(word("sending", { done: done.toLocaleString(), total: files.length.toLocaleString() }));
    bar.style.width = `${(100 * done) / files.length}%`;
  };
  const sender = async () => {
    while (at < files.length && mine === run) {
      const number = at++;
      try {
        const { path } = await upload(files[number].file);
        sent[number] = { path, name: files[number].name };
      } catch { /* counted below */ }
      done += 1;
      if (mine === run) progress();
    }
  };
  progress();
  await Promise.all(Array.from({ length: SENDERS }, sender));
  if (mine !== run) return;
  const good = sent.filter(Boolean), lost = files.length - good.length;
  rest(lost ? word("failed", { n: lost, total: files.length }) : left ? word("left_out", { n: left }) : "");
  if (good.length) trigger("received", { files: good, left_out: left });
}

const picked = (list) => Array.from(list, (file) => ({ file, name: file.webkitRelativePath || file.name }));

for (const kind of ["files", "folder"]) {
  const input = find(`pick-${kind}`);
  find(kind).textContent = word(`choose_${kind}`);
  find(kind).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    const chosen = picked(input.files);
    input.value = "";
    if (chosen.length) send(chosen);
  });
}
find("cancel").textContent = word("cancel");
find("cancel").addEventListener("click", () => { run += 1; rest(word("cancelled")); });

const brings = (event) => event.dataTransfer?.types.includes("Files");
root.addEventListener("dragover", (event) => {
  if (!brings(event) || busy) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
  root.classList.add("over");
  say.textContent = word("let_go");
});
root.addEventListener("dragleave", (event) => {
  if (root.contains(event.relatedTarget) || busy) return;
  root.classList.remove("over");
  say.textContent = word("drop");
});
root.addEventListener("drop", async (event) => {
  if (!brings(event)) return;
  event.preventDefault();
  root.classList.remove("over");
  if (busy) return;
  busy = true;
  // The list of entries is empty after the first await.
  const items = Array.from(event.dataTransfer.items).filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.() ?? null);
  const plain = items.map((item) => item.getAsFile());
  show(word("looking"));
  const found = [];
  for (let i = 0; i < items.length; i++) {
    if (entries[i]) await walk(entries[i], "", found);
    else if (plain[i]) found.push({ file: plain[i], name: plain[i].name });
  }
  send(found);
});
rest("");
