// The table of evaluations: only the rows in sight are in the page, however many there are.

import { several } from "./choose.js";
import { csv, download } from "./csv.js";
import { fill, h, panel, panels } from "../dom.js";
import { heading, short, shown } from "./evaluations.js";
import { filter } from "./filter.js";
import { counted, state, value } from "../format.js";
import { HEIGHT, filler, ordered } from "../rows.js";

const BEYOND = 8; // rows above and below those in sight
const SAMPLE = 60;
const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: -Infinity, End: Infinity };

/**
 * The panel. `view` holds columns, sort, filter and whether only the chosen are shown, as the address tells them;
 * `changed()` keeps them there; `source` gives links.
 */
export class Table {
  constructor(evaluations, brush, view, { changed, source }) {
    Object.assign(this, { evaluations, brush, view, changed, source, active: 0, lines: new Map() });
    this.head = h("thead", {});
    this.body = h("tbody", {});
    this.widths = h("colgroup", {});
    this.table = h("table", { class: "virtual", role: "grid", "aria-multiselectable": "true", "aria-labelledby": "panel-table-title" }, this.widths, this.head, this.body);
    this.port = h("div", { class: "scroll port", tabindex: 0, role: "group", "aria-label": "Rows: arrow keys move, Enter opens the workflow, Space chooses", on: { scroll: () => this.scrolled(), keydown: (event) => this.key(event), click: (event) => this.click(event) } }, this.table);
    this.bar = h("div", { class: "bar" });
    this.said = h("p", { class: "note", role: "status" });
    this.node = panel("table", `All ${evaluations.word}s`, this.bar, this.said, this.port);
    this.node.classList.add("wide");
    brush.listen((moving) => moving || this.brushed());
    this.sized = new ResizeObserver(() => this.scrolled());
    this.sized.observe(this.port);
    this.tools();
    this.columns();
  }

  end() {
    this.sized.disconnect();
  }

  /** The evaluations have changed: rows stay where they are. */
  update() {
    if (this.message !== this.anyMessage()) return this.columns();
    this.find();
    this.draw(true);
  }

  anyMessage() {
    return this.evaluations.rows.some((row) => row.message);
  }

  tools() {
    const all = this.source.api(`studies/${encodeURIComponent(this.evaluations.document.summary.study)}/evaluations.csv`);
    const words = h("input", { type: "search", value: this.view.filter, placeholder: "state, number, message, makespan<3", "aria-label": "Filter", on: { input: () => this.set({ filter: words.value }) } });
    const only = h("button", { type: "button", on: { click: () => this.set({ only: !this.view.only }) } });
    this.only = only;
    const choice = this.evaluations.columns.filter((column) => column.name !== "evaluation" || column.kind !== "own");
    fill(this.bar, words, only, several("columns", choice, this.view.columns, (columns) => { this.view.columns = columns; this.changed(); this.columns(); }),
      h("button", { type: "button", on: { click: () => this.save() } }, "save these as CSV"), all && h("a", { href: all, download: "evaluations.csv" }, "all of them as CSV"));
  }

  set(view) {
    Object.assign(this.view, view);
    this.changed();
    this.find();
    this.port.scrollTop = 0;
    this.active = 0;
    this.draw(true);
  }

  /** Head and widths; the evaluation's number always comes first. */
  columns() {
    const chosen = this.view.columns.map((id) => this.evaluations.column(id)).filter(Boolean);
    this.shown = [this.evaluations.column("evaluation"), ...chosen];
    this.message = this.anyMessage();
    const widths = [2.6, ...this.shown.map((column) => this.width(column)), ...(this.message ? [40] : [])];
    this.wide = widths.length;
    fill(this.widths, ...widths.map((width) => h("col", { style: `width: ${width}ch` })));
    this.table.style.width = `${widths.reduce((sum, width) => sum + width)}ch`;
    this.find();
    this.draw(true);
  }

  /** Of a fair sample of its values, and of its name, in characters. */
  width(column) {
    const values = this.evaluations.values(column);
    const every = Math.max(1, Math.floor(values.length / SAMPLE));
    const texts = values.filter((_, place) => place % every === 0).map((known) => (known === null ? "unknown" : shown(known, column)));
    return Math.min(34, Math.max(heading(column).length + 3, column.name === "state" ? 14 : 7, ...texts.map((text) => text.length))) + 3;
  }

  /** Which rows are asked for, in which order. */
  find() {
    const { test, problem } = filter(this.view.filter, this.evaluations);
    const only = this.view.only && this.brush.active;
    this.rows = this.evaluations.rows.filter((row) => (!only || this.brush.has(row.key)) && test(row));
    this.problem = problem;
    const column = this.evaluations.column(this.view.sort.column);
    if (column && (column.name !== "evaluation" || this.view.sort.down)) this.rows = ordered(this.rows, (row) => this.evaluations.value(row, column), this.view.sort.down);
  }

  /** Draw head and rows; `anew` those too that are in the page already. */
  draw(anew = false) {
    const focus = this.head.contains(document.activeElement) ? [...this.head.querySelectorAll("button")].indexOf(document.activeElement) : -1;
    fill(this.head, h("tr", { "aria-rowindex": 1 }, h("th", { "aria-label": "chosen" }), this.shown.map((column) => this.title(column)), this.message && h("th", { class: "words" }, this.evaluations.document.summary.stopped ? "why it failed or was ended" : "why it failed")));
    if (focus >= 0) this.head.querySelectorAll("button")[focus]?.focus({ preventScroll: true });
    this.table.setAttribute("aria-rowcount", this.rows.length + 1);
    if (anew) this.lines.clear();
    this.tell();
    this.scrolled();
  }

  title(column) {
    const { sort } = this.view;
    const sorted = sort.column === column.id ? (sort.down ? "descending" : "ascending") : "none";
    const name = heading(column);
    return h("th", { "aria-sort": sorted, scope: "col", class: this.evaluations.wordy(column) ? "word" : null, title: name, "data-column": column.id }, h("button", { type: "button", on: { click: () => this.resort(column) } }, short(name, 30)));
  }

  resort(column) {
    const { sort } = this.view;
    const next = sort.column !== column.id ? { column: column.id, down: false } : sort.down ? { column: "evaluation", down: false } : { column: column.id, down: true };
    this.set({ sort: next });
  }

  tell() {
    const all = this.evaluations.rows.length;
    const { size, active } = this.brush;
    fill(this.said, this.problem ? `The filter is not understood: ${this.problem}. ` : "", this.rows.length === all ? counted(all, this.evaluations.word) : `${this.rows.length} of ${counted(all, this.evaluations.word)}`, active ? `, ${size} chosen` : "");
    fill(this.only, active ? `only the ${size} chosen` : "only the chosen");
    this.only.disabled = !active;
    this.only.setAttribute("aria-pressed", String(active && this.view.only));
    panels.table = { rows: this.rows.length, total: all, selected: size, sort: this.view.sort };
  }

  /** Rows in sight, and a few more; those that stay are not made again. */
  scrolled() {
    if (!this.rows) return;
    const first = Math.max(0, Math.floor(this.port.scrollTop / HEIGHT) - BEYOND);
    const last = Math.min(this.rows.length, Math.ceil((this.port.scrollTop + this.port.clientHeight) / HEIGHT) + BEYOND);
    const kept = new Map();
    const lines = this.rows.slice(first, last).map((row, i) => {
      const line = this.lines.get(row.key) ?? this.line(row);
      kept.set(row.key, line);
      this.mark(line, row, first + i);
      return line;
    });
    this.lines = kept;
    const had = document.activeElement;
    const inside = this.body.contains(had);
    fill(this.body, filler(first, this.wide), lines, filler(this.rows.length - last, this.wide), !this.rows.length && this.nothing());
    if (inside && !this.body.contains(document.activeElement)) (had.isConnected ? had : this.port).focus({ preventScroll: true });
    this.port.toggleAttribute("aria-activedescendant", false);
    const now = this.rows[this.active];
    if (now && kept.has(now.key)) this.port.setAttribute("aria-activedescendant", kept.get(now.key).id);
  }

  nothing() {
    const why = this.evaluations.rows.length ? "None is like that: change the filter, or show all." : "None has begun yet.";
    return h("tr", {}, h("td", { class: "words nothing", colspan: this.wide }, why));
  }

  line(row) {
    const { summary } = this.evaluations.document;
    const box = h("input", { type: "checkbox", tabindex: -1, "aria-label": `choose ${this.evaluations.word} ${short(row.eval_id)}`, "data-choose": "" });
    const number = row.wf_uuid ? h("a", { href: this.source.link("studies", summary.study, "workflows", row.wf_uuid), title: row.eval_id }, short(row.eval_id, 28)) : h("span", { title: "it has no workflow run" }, short(row.eval_id, 28));
    const [, ...columns] = this.shown;
    const line = h("tr", { id: `row-${row.key}`, "data-evaluation": row.key, "data-workflow": row.wf_uuid, class: row.failed ? "failed" : row.state === "stopped" ? "stopped" : null },
      h("td", {}, box), h("td", { "data-metric": "evaluation", "data-value": row.eval_id }, number), columns.map((column) => h("td", { class: this.evaluations.wordy(column) ? "word" : null }, this.cell(row, column))),
      this.message && h("td", { class: "message", title: row.message, "data-metric": "message", "data-value": row.message }, row.message));
    for (const each of line.querySelectorAll("a, [tabindex]")) each.tabIndex = -1;
    return line;
  }

  cell(row, column) {
    if (column.kind === "own" && column.name === "state") return state(row.state);
    const known = this.evaluations.value(row, column);
    const made = value(column.name, known, column.unit, known === null ? this.evaluations.reason(row, column) : "");
    const bound = known !== null && this.evaluations.bound(row, column);
    if (known !== null) made.textContent = `${bound ? "≥ " : ""}${short(shown(known, column), 34)}`;
    if (bound) Object.assign(made, { title: `${known}, a lower bound: the evaluation was ended early` }).dataset.bound = "";
    if (typeof known === "string") made.title = known;
    return made;
  }

  mark(line, row, place) {
    const chosen = this.brush.has(row.key);
    line.setAttribute("aria-rowindex", place + 2);
    line.setAttribute("aria-selected", String(chosen));
    line.classList.toggle("now", place === this.active);
    line.querySelector("input").checked = chosen;
    for (const each of line.querySelectorAll("a, .unknown")) each.tabIndex = place === this.active ? 0 : -1;
  }

  brushed() {
    if (this.view.only) this.find();
    this.tell();
    this.scrolled();
  }

  click({ target }) {
    const line = target.closest("tr[data-evaluation]");
    if (!line) return;
    const { evaluation } = line.dataset;
    this.active = this.rows.findIndex((row) => row.key === evaluation);
    if ("choose" in target.dataset) this.brush.toggle(evaluation);
    else if (target.closest("a, .unknown") || String(getSelection())) this.scrolled();
    else this.open(line);
  }

  open(line) {
    line?.querySelector("a")?.click();
  }

  key(event) {
    if (event.target.closest("thead") || (event.target.matches("a") && event.key === "Enter")) return;
    const now = this.rows[this.active];
    if (event.key in STEPS && !event.ctrlKey && !event.metaKey) this.move(STEPS[event.key]);
    else if (event.key === "Enter") this.open(this.lines.get(now?.key));
    else if (event.key === " " && now) this.brush.toggle(now.key);
    else return;
    event.preventDefault();
  }

  move(step) {
    this.active = Math.max(0, Math.min(this.rows.length - 1, this.active + step));
    const head = this.head.offsetHeight;
    const top = this.active * HEIGHT;
    const { scrollTop, clientHeight } = this.port;
    if (top < scrollTop) this.port.scrollTop = top;
    else if (top + HEIGHT + head > scrollTop + clientHeight) this.port.scrollTop = top + HEIGHT + head - clientHeight;
    this.scrolled();
  }

  save() {
    const head = ["evaluation", "workflow", ...this.shown.slice(1).map((column) => column.id), "message"];
    const rows = this.rows.map((row) => [row.eval_id, row.wf_uuid, ...this.shown.slice(1).map((column) => this.evaluations.value(row, column)), row.message]);
    download("evaluations.csv", csv([head, ...rows]));
  }
}
