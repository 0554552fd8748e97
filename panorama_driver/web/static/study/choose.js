// Choosing columns: a list of boxes to tick below a button, and a list to choose one from.

import { fill, h } from "../dom.js";
import { heading, short } from "./evaluations.js";

const KINDS = { own: "of all studies", parameter: "parameters", response: "responses", metric: "performance" };

/** Boxes to tick, by kind; `changed(ids)` tells the ticked ones: those that were ticked in their order, then new ones. */
export function several(title, columns, ticked, changed) {
  let ids = [...ticked];
  const list = h("div", { class: "boxes" });
  const head = h("summary", {});
  const told = () => {
    fill(head, `${title} (${ids.length})`);
    changed(ids);
  };
  const tick = (id, on) => {
    ids = on ? [...ids, id] : ids.filter((other) => other !== id);
    told();
  };
  fill(head, `${title} (${ids.length})`);
  fill(list, ...groups(columns, (column) => box(column, ids.includes(column.id), tick)));
  const node = h("details", { class: "choose" }, head, list);
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !node.open) return;
    node.open = false;
    head.focus();
  });
  node.addEventListener("focusout", ({ relatedTarget }) => relatedTarget && !node.contains(relatedTarget) && (node.open = false));
  return node;
}

function groups(columns, made) {
  return Object.entries(KINDS).flatMap(([kind, title]) => {
    const these = columns.filter((column) => column.kind === kind);
    return these.length ? [h("fieldset", {}, h("legend", {}, title), these.map(made))] : [];
  });
}

function box(column, on, tick) {
  const input = h("input", { type: "checkbox", value: column.id, checked: on, on: { change: () => tick(column.id, input.checked) } });
  return h("label", {}, input, " ", short(heading(column), 40));
}

/** One column out of many. */
export function one(title, columns, id, changed) {
  const options = (kind) => columns.filter((column) => column.kind === kind).map((column) => h("option", { value: column.id, selected: column.id === id }, short(heading(column), 40)));
  const select = h("select", { on: { change: () => changed(select.value) } },
    Object.entries(KINDS).flatMap(([kind, name]) => (options(kind).length ? [h("optgroup", { label: name }, options(kind))] : [])));
  return h("label", {}, `${title} `, select);
}
