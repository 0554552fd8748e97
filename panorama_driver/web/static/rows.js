// A table of which only the rows in sight are in the page, sorted by a press on a column's head.

import { fill, h } from "./dom.js";

const HEIGHT = 32;
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
    this.sorted = [...this.rows];
    if (!this.by) return;
    const way = this.down ? -1 : 1;
    const lacks = (value) => value === null || value === undefined;
    this.sorted.sort((a, b) => {
      const [x, y] = [this.by.sort(a), this.by.sort(b)];
      if (lacks(x) || lacks(y)) return lacks(x) - lacks(y); // what is not known comes last either way
      return way * (typeof x === "string" ? x.localeCompare(y) : x - y);
    });
  }

  /** Draw the rows in sight; `kept` leaves them if they are the same as before. */
  redraw(kept = false) {
    const first = Math.max(0, Math.floor(this.node.scrollTop / HEIGHT) - SPARE);
    const last = Math.min(this.sorted.length, first + Math.ceil((this.node.clientHeight || 600) / HEIGHT) + 2 * SPARE);
    if (kept && this.first === first && this.last === last) return;
    Object.assign(this, { first, last });
    const focused = this.focused();
    this.table.setAttribute("aria-rowcount", this.sorted.length + 1);
    fill(this.body, this.gap(first), this.sorted.slice(first, last).map((row, i) => this.line(row, first + i)), this.gap(this.sorted.length - last));
    if (focused) this.body.querySelector(`[aria-rowindex="${focused.row}"]`)?.children[focused.column]?.querySelector("a, button, [tabindex]")?.focus({ preventScroll: true });
  }

  focused() {
    const cell = this.body.contains(document.activeElement) && document.activeElement.closest("td");
    return cell ? { row: cell.parentNode.getAttribute("aria-rowindex"), column: cell.cellIndex } : null;
  }

  gap(count) {
    return count > 0 ? h("tr", { "aria-hidden": "true", style: `height: ${count * HEIGHT}px` }) : null;
  }

  line(row, place) {
    return h("tr", { ...this.attributes(row), "aria-rowindex": place + 2 }, this.columns.map((column) => h("td", { class: column.words ? "words" : null }, column.cell(row))));
  }
}
