// A table of which only the rows in sight are in the page, sorted by a press on a column's head.

import { fill, h, refocused } from "./dom.js";

/** Height of a row [px]. */
export const HEIGHT = 32;
const SPARE = 10;

/** `columns`: {title, width, sort(row), cell(row), words}; `attributes(row)` are those of a row's element. */
export class VirtualTable {
  constructor(columns, { label, attributes }) {
    Object.assign(this, { columns, attributes, rows: [], sorted: [], by: null, down: false });
    this.head = h("tr", { "aria-rowindex": 1 }, columns.map((column) => this.title(column)));
    this.body = h("tbody");
    const wide = columns.map(({ width }) => width).join(" + ");
    this.table = h("table", { "aria-label": label, class: "listing", style: `width: calc(${wide})` }, h("colgroup", {}, columns.map(({ width }) => h("col", { style: `width: ${width}` }))), h("thead", {}, this.head), this.body);
    this.node = h("div", { class: "rows", tabindex: 0, role: "region", "aria-label": label, on: { scroll: () => this.redraw(true) } }, this.table);
    new ResizeObserver(() => this.redraw(true)).observe(this.node);
  }

  title(column) {
    return h("th", { class: column.words ? "words" : null, scope: "col" }, h("button", { type: "button", on: { click: () => this.sortBy(column) } }, column.title));
  }

  /** Show these rows, in the order asked for before. */
  show(rows) {
    this.rows = rows;
    this.sort();
    this.redraw();
  }

  sortBy(column) {
    this.down = this.by === column ? !this.down : false;
    this.by = column;
    [...this.head.children].forEach((cell, i) => {
      if (this.columns[i] === column) cell.setAttribute("aria-sort", this.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    this.sort();
    this.redraw();
  }

  sort() {
    this.sorted = this.by ? ordered(this.rows, this.by.sort, this.down) : [...this.rows];
  }

  /** Draw the rows in sight; `kept` leaves them if they are the same as before. */
  redraw(kept = false) {
    const first = Math.max(0, Math.floor(this.node.scrollTop / HEIGHT) - SPARE);
    const last = Math.min(this.sorted.length, first + Math.ceil((this.node.clientHeight || 600) / HEIGHT) + 2 * SPARE);
    if (kept && this.first === first && this.last === last) return;
    Object.assign(this, { first, last });
    this.table.setAttribute("aria-rowcount", this.sorted.length + 1);
    const lines = this.sorted.slice(first, last).map((row, i) => this.line(row, first + i));
    refocused(this.body, () => fill(this.body, filler(first, this.columns.length), lines, filler(this.sorted.length - last, this.columns.length)));
  }

  line(row, place) {
    return h("tr", { ...this.attributes(row), "aria-rowindex": place + 2 }, this.columns.map((column) => h("td", { class: column.words ? "words" : null }, column.cell(row))));
  }
}

/** Rows by a value of theirs: numbers by size, words by the alphabet, and last, whichever way, what is not known. */
export function ordered(rows, value, down) {
  const way = down ? -1 : 1;
  const lacks = (known) => known === null || known === undefined;
  const known = rows.map((row) => ({ row, value: value(row) }));
  known.sort(({ value: a }, { value: b }) => (lacks(a) || lacks(b) ? lacks(a) - lacks(b) : way * compared(a, b)));
  return known.map(({ row }) => row);
}

/** Which of two values comes first, as a number; numbers within words by their size. */
export function compared(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
}

/** The height of rows that are not in the page, as wide as all columns are. */
export function filler(rows, columns) {
  return rows > 0 && h("tr", { class: "filler", "aria-hidden": "true" }, h("td", { style: `height: ${rows * HEIGHT}px`, colspan: columns }));
}
