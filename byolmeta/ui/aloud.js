// Reads to those who listen to the page what it has come to: the texts that carry data-aloud, each once it has settled.
// It has a live region of its own, as a text that is replaced again and again would be read again and again. The same
// text is read once more where the attribute has another value. What was there before anybody did anything is not read.

(() => {
  const SETTLED_MS = 500; // what is the same so much later has settled
  const region = document.createElement("div");
  region.id = "aloud";
  region.setAttribute("role", "status");
  const known = new Map(); // name of a block -> what was read of it, or was there at first
  let seen = new Map(); // the blocks when they were looked at last
  let waiting = 0;

  // {name of a block: [its sentences, and what tells them from others]}
  function blocks() {
    const found = new Map();
    for (const node of document.querySelectorAll("[data-aloud]")) {
      const name = node.closest("[id]")?.id, [sentences, key] = found.get(name) ?? [[], ""];
      const sentence = node.textContent.trim();
      if (sentence) found.set(name, [[...sentences, sentence], `${key} ${node.dataset.aloud} ${sentence}`]);
    }
    return found;
  }

  function look() {
    waiting = 0;
    const now = blocks(), news = [];
    for (const [name, [sentences, key]] of now) {
      if (known.get(name) === key) continue;
      const settled = seen.get(name)?.[1] === key;
      if (settled && navigator.userActivation.hasBeenActive) news.push(...sentences);
      if (settled || !navigator.userActivation.hasBeenActive) known.set(name, key);
      else soon();
    }
    for (const name of known.keys()) if (!now.has(name)) known.delete(name);
    seen = now;
    if (news.length) region.replaceChildren(...news.map(paragraph));
    untangle();
  }

  function paragraph(text) {
    const node = document.createElement("p");
    node.textContent = text;
    return node;
  }

  // Gradio's messages are a button around a button, which cannot be told apart by ear.
  function untangle() {
    for (const head of document.querySelectorAll(".toast-header[role]")) {
      head.removeAttribute("role");
      head.removeAttribute("tabindex");
    }
  }

  function soon() {
    waiting ||= setTimeout(look, SETTLED_MS);
  }

  document.body.append(region); // Gradio adds this script to a page that is there
  const watched = { subtree: true, childList: true, characterData: true, attributeFilter: ["data-aloud"] };
  new MutationObserver(soon).observe(document.body, watched);
})();
