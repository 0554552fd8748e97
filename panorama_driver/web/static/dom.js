// Elements made by hand: text is always text, so that nothing a job wrote can become markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `h("a", { href, class, "data-job": id, on: { click } }, "text", child, ...)`; null and false are left out. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for drawings. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** Put `children` in the place of what was there. */
export function fill(node, ...children) {
  node.replaceChildren(...shown(children));
  return node;
}

/** A row of links, buttons or words with the separator between them. */
export function joined(items, separator = " · ") {
  return items.flatMap((item, i) => (i ? [separator, item] : [item]));
}

/** A heading with what belongs below it; `name` is what tests and links know it by. */
export function panel(name, title, ...children) {
  const id = `panel-${name}`;
  return h("section", { class: "panel", id, "data-panel": name, "aria-labelledby": `${id}-title` },
    h("h2", { id: `${id}-title` }, title), ...children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else node.setAttribute(name, value === true ? "" : safe(name, String(value)));
  }
  node.append(...shown(children));
  return node;
}

function shown(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Links lead into these pages and nowhere else, whatever a record says. */
function safe(name, value) {
  if ((name === "href" || name === "src") && /^\s*(?!https?:)[a-z][a-z0-9+.-]*:/i.test(value) && !value.startsWith("blob:")) {
    throw new Error(`${name}=${value} leads nowhere`);
  }
  return value;
}
