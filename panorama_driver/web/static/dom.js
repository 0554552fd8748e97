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

/** Signs that nobody sees, or that turn the direction of reading, so that a name could look like another one. */
const UNSEEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

/** Text with such signs spelt out. */
export function visible(text) {
  return text.replace(UNSEEN, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** The first `most` characters of what may be very long. */
export function short(name, most = 24) {
  return name.length > most ? `${name.slice(0, most - 1)}…` : name;
}

/** Put `children` in the place of what was there. */
export function fill(node, ...children) {
  node.replaceChildren(...shown(children));
  return node;
}

/** What the pages draw, by the names of its panels: for tests, and for whoever opens the console. */
export const panels = ((globalThis.panorama ??= {}).panels ??= {});

const STOPS = ":is(a[href], button, input, select, summary, [tabindex]):not(:disabled)";
const OWNER = "[data-study], [data-job], [data-evaluation], [data-transfer], [data-anomaly]";

/** Fill a place anew, only if what it shows has changed; the keyboard stays where it was. */
export function renew(node, data, made) {
  const key = JSON.stringify(data);
  if (node.shownFor === key) return;
  node.shownFor = key;
  refocused(node, () => fill(node, made()));
}

/** Do what puts other elements into a place, and give the keyboard back to what had it, or to what is like that now. */
export function refocused(node, act) {
  const had = node.contains(document.activeElement) ? document.activeElement : null;
  const stops = () => [...node.querySelectorAll(STOPS)];
  const place = had ? stops().indexOf(had) : -1;
  const mark = had && marked(had);
  act();
  if (!had || document.activeElement === had) return;
  const now = stops();
  const like = had.isConnected ? had : now[place] && marked(now[place]) === mark ? now[place] : now.find((stop) => marked(stop) === mark);
  (like ?? now[place])?.focus({ preventScroll: true });
}

/** What tells one stop of the keyboard from others. */
function marked(stop) {
  const { study, job, evaluation, transfer, anomaly } = stop.closest(OWNER)?.dataset ?? {};
  return JSON.stringify([stop.localName, stop.getAttribute("href"), stop.dataset.metric, study, job, evaluation, transfer, anomaly]);
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

/** A panel as wide as all columns. */
export function wide(section) {
  section.classList.add("wide");
  return section;
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
  const told = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  return told.map((child) => (typeof child === "string" ? visible(child) : child));
}

/** Links lead into these pages and nowhere else, whatever a record says. */
function safe(name, value) {
  if ((name === "href" || name === "src") && /^\s*(?!https?:)[a-z][a-z0-9+.-]*:/i.test(value) && !value.startsWith("blob:")) {
    throw new Error(`${name}=${value} leads nowhere`);
  }
  return value;
}
