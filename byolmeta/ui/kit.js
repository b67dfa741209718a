// What the scripts of several components begin with: each brings `memory` ({props: {}}), PATHS (icons by name) and WORDS.

function given(name) {
  // A remount can lose the props: then the last ones seen count.
  if (props[name] !== undefined) memory.props[name] = props[name];
  return memory.props[name];
}

function word(key, values = {}) {
  return WORDS[key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

function make(tag, name, attributes = {}, ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
