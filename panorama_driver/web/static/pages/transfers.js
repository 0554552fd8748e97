// The transfers of a run: every one in a table, failed and local ones as well, what they moved over time, one in detail.

import { Again } from "../again.js";
import { chart } from "../charts.js";
import { fill, h, panel, wide } from "../dom.js";
import { bytes, counted, lost, state, terms, tile, time, unknown, value } from "../format.js";
import { tcpTerms } from "../job/attempts.js";
import { binnedBytes, speedSteps } from "../job/speeds.js";
import { binned, totals } from "../series.js";
import { VirtualTable } from "../rows.js";

const NO_TIME = "its records do not tell when it began and ended";
const NO_SIZE = "the transfer tool does not tell the size";
const WHY = {
  name: "it stands for all files of its job", source: "no record tells it", destination: "no record tells it", method: "no record tells it",
  job_id: "no job claims it", begin: NO_TIME, end: NO_TIME, duration: NO_TIME, files: "no record tells it", size: NO_SIZE, bytes_transferred: NO_SIZE,
  effective_speed: "its bytes or its times are not known", average_speed: "its bytes or its times are not known", attempt: "it could not be given to one attempt",
};

/** Draw the page of transfers. */
export async function show(view, place, source) {
  const page = new Page(place, source);
  page.take(await source.transfers(place.study, place.workflow));
  fill(view, page.whole);
  page.draw();
  const stop = source.follow([`workflow/${place.study}/${place.workflow}`], () => page.again.ask());
  return () => {
    page.again.end();
    stop();
  };
}

class Page {
  constructor(place, source) {
    Object.assign(this, { place, source, rows: [], chosen: null, words: "", wanted: "" });
    this.again = new Again(() => this.refresh());
    this.tiles = h("div", { class: "tiles" });
    this.notes = h("div");
    this.detail = h("div", { class: "panels wide", hidden: true });
    this.speed = chart("transfer-speed", "Speed over time", null, { time: true, size: "B/s" });
    this.moved = chart("transfer-bytes", "Bytes per interval", null, { time: true, size: "B" });
    this.total = chart("transfer-total", "Bytes, cumulative", null, { time: true, size: "B" });
    this.table = new VirtualTable(this.columns(), { label: "Transfers", attributes: (row) => ({ "data-transfer": row.id, "data-job": row.transfer.job_id, "aria-selected": String(row.id === this.chosen) }) });
    this.count = h("span", { class: "note", role: "status" });
    this.states = h("select", { "aria-label": "State", on: { change: ({ target }) => this.filter({ wanted: target.value }) } });
    this.all = h("button", { type: "button", hidden: true, on: { click: () => this.choose(null) } }, "show all together");
    this.whole = h("div", { "data-study": place.study, "data-workflow": place.workflow }, h("h1", {}, "Transfers"), this.again.trouble, this.tiles, this.notes,
      h("div", { class: "bar" }, this.all),
      h("div", { class: "panels" }, this.detail, wide(this.speed), this.moved, this.total, wide(panel("transfers", "All transfers", this.bar(), this.table.node))));
  }

  bar() {
    const filter = h("input", { type: "search", placeholder: "name, place, job, error", "aria-label": "Filter transfers", on: { input: ({ target }) => this.filter({ words: target.value }) } });
    return h("div", { class: "bar" }, filter, this.states, this.count);
  }

  take({ transfers }) {
    this.rows = transfers.map((row, id) => ({ id: String(id), ...row, searched: searched(row.transfer) }));
    if (this.chosen !== null && !this.rows[Number(this.chosen)]) this.chosen = null;
  }

  async refresh() {
    const now = await this.source.transfers(this.place.study, this.place.workflow);
    if (this.again.ended) return;
    this.take(now);
    this.draw();
  }

  draw() {
    fill(this.tiles, ...sums(this.rows));
    fill(this.notes, ...remarks(this.rows));
    const known = [...new Set(this.rows.map(({ transfer }) => transfer.state))].sort();
    fill(this.states, h("option", { value: "" }, "all states"), known.map((name) => h("option", { value: name, selected: name === this.wanted }, name)));
    this.filter({});
    this.drawChosen();
  }

  filter({ words = this.words, wanted = this.wanted }) {
    Object.assign(this, { words, wanted });
    const parts = words.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = this.rows.filter((row) => (!wanted || row.transfer.state === wanted) && parts.every((part) => row.searched.includes(part)));
    this.table.show(shown);
    fill(this.count, shown.length === this.rows.length ? counted(shown.length, "transfer") : `${shown.length} of ${counted(this.rows.length, "transfer")}`);
  }

  choose(id) {
    this.chosen = this.chosen === id ? null : id;
    this.table.redraw();
    this.drawChosen();
    if (this.chosen !== null) this.detail.scrollIntoView({ block: "nearest" });
  }

  drawChosen() {
    const row = this.chosen === null ? null : this.rows[Number(this.chosen)];
    this.all.hidden = !row;
    this.detail.hidden = !row;
    const key = JSON.stringify([row?.transfer, row?.tcp]);
    if (this.detail.shownFor !== key) fill(this.detail, row && wide(panel("transfer", `Transfer: ${row.transfer.name ?? "all files of the job"}`, ...this.told(row))));
    this.detail.shownFor = key;
    this.drawSpeed((row ? [row] : this.rows).flatMap(({ speed }) => speed), row);
  }

  drawSpeed(spans, row) {
    const name = row ? row.transfer.name ?? "this one" : "all transfers";
    const { x, y } = speedSteps(spans);
    const { time: begins, width, bytes: amounts } = binnedBytes(spans);
    const series = { time: begins, width, bytes_transferred: amounts, reasons: {} };
    const columns = [["bytes_transferred", name, "#009E73"]];
    const why = unmoved(row ? [row] : this.rows);
    this.speed.update(x.length ? [{ name, metric: "speed", x, y, mode: "lines", line: { shape: "hv" }, fill: "tozeroy", color: "#0072B2" }] : [], why);
    this.moved.update(binned(series, columns, { fill: "tozeroy" }), why);
    this.total.update(totals(series, columns), why);
  }

  told({ transfer, tcp }) {
    const known = (name, unit) => value(name, transfer[name], unit, WHY[name]);
    return [
      terms([
        ["state", state(transfer.state)], ["from", place(transfer.source, "source")], ["to", place(transfer.destination, "destination")],
        ["job", this.jobLink(transfer)], ["attempt", known("attempt")], ["tool", transfer.tool], ["method", known("method")],
        ["began", time(transfer.begin, "begin", WHY.begin)], ["ended", time(transfer.end, "end", WHY.end)], ["duration", known("duration", "s")],
        ["files", known("files")], ["size", known("size", "bytes"), rounded(transfer)], ["moved", known("bytes_transferred", "bytes"), rounded(transfer)],
        ["speed over all its time", known("effective_speed", "bytes/s")], ["speed while something moved", known("average_speed", "bytes/s")],
        ["faults", known("faults")], ["tried again", known("retried")],
      ]),
      transfer.error ? h("p", { class: "failed-words", "data-metric": "error" }, transfer.error) : null,
      tcp ? this.tcp(transfer) : null,
    ];
  }

  /** What the network says, which the job's document holds: fetched when it is asked for. */
  tcp(transfer) {
    const shown = h("div");
    const ask = async () => {
      const { job } = await this.source.job(this.place.study, this.place.workflow, transfer.job_id);
      const of = job.attempts.find(({ attempt }) => attempt === transfer.attempt) ?? job;
      fill(shown, of.tcp ? tcpTerms(of.tcp) : lost("tcp", of.reasons.tcp));
    };
    const pressed = ({ target }) => {
      target.disabled = true;
      ask().catch((problem) => fill(shown, h("p", { role: "alert" }, problem.message))).finally(() => (target.disabled = false));
    };
    return h("div", {}, h("h3", {}, "TCP connections of its job"), h("button", { type: "button", on: { click: pressed } }, "show"), shown);
  }

  jobLink({ job_id: id }) {
    return id ? h("a", { href: this.source.link("studies", this.place.study, "workflows", this.place.workflow, "jobs", id) }, id) : unknown("job_id", WHY.job_id);
  }

  columns() {
    const number = (name, title, unit, width) => ({ title, width, sort: ({ transfer }) => transfer[name], cell: ({ transfer }) => value(name, transfer[name], unit, WHY[name]) });
    const named = (name, title, width, cell) => ({ title, width, words: true, sort: ({ transfer }) => transfer[name], cell });
    return [
      named("name", "transfer", "14rem", (row) => h("button", { type: "button", class: "plain", "aria-pressed": String(row.id === this.chosen), title: row.transfer.name ?? WHY.name, on: { click: () => this.choose(row.id) } }, row.transfer.name ?? "all files of the job")),
      named("state", "state", "7rem", ({ transfer }) => state(transfer.state)),
      named("source", "from", "16rem", ({ transfer }) => place(transfer.source, "source")),
      named("destination", "to", "16rem", ({ transfer }) => place(transfer.destination, "destination")),
      { title: "moved", width: "10rem", sort: ({ transfer }) => transfer.bytes_transferred, cell: ({ transfer }) => [value("bytes_transferred", transfer.bytes_transferred, "bytes", WHY.bytes_transferred), rounded(transfer)] },
      number("files", "files", "", "4rem"),
      named("method", "method", "6rem", ({ transfer }) => transfer.method ?? unknown("method", WHY.method)),
      { title: "began", width: "12rem", sort: ({ transfer }) => transfer.begin, cell: ({ transfer }) => time(transfer.begin, "begin", WHY.begin) },
      { title: "ended", width: "12rem", sort: ({ transfer }) => transfer.end, cell: ({ transfer }) => time(transfer.end, "end", WHY.end) },
      number("duration", "duration", "s", "7rem"), number("effective_speed", "effective speed", "bytes/s", "9rem"),
      number("average_speed", "average speed", "bytes/s", "9rem"), number("faults", "faults", "", "5rem"), number("retried", "tried again", "", "6rem"),
      named("error", "error", "16rem", ({ transfer }) => (transfer.error ? h("span", { title: transfer.error }, transfer.error) : "")),
      named("job_id", "job", "14rem", ({ transfer }) => this.jobLink(transfer)),
    ];
  }
}

function searched({ name, source, destination, job_id: job, error, method, tool }) {
  return [name, source, destination, job, error, method, tool].filter(Boolean).join(" ").toLowerCase();
}

/** A URL or the name of a collection: text, never a link, whatever it says. */
function place(named, metric) {
  return named ? h("span", { class: "mono", title: named, "data-metric": metric, "data-value": named }, named) : unknown(metric, WHY[metric]);
}

function rounded({ rounding }) {
  return rounding ? h("span", { class: "note", "data-metric": "rounding", "data-value": String(rounding) }, ` ± ${bytes(rounding)}`) : null;
}

/** Totals; bytes that one which did not fail does not tell make the sum unknown. */
function sums(rows) {
  const all = rows.map(({ transfer }) => transfer);
  const sum = (name) => all.reduce((total, transfer) => total + (transfer[name] ?? 0), 0);
  const lacking = (name) => all.filter((transfer) => transfer[name] === null && transfer.state !== "failed").length;
  const known = (name) => (lacking(name) ? null : sum(name));
  const why = (name) => (lacking(name) ? `${lacking(name)} of ${all.length} do not tell; the others make ${name === "files" ? sum(name) : bytes(sum(name))}` : "");
  const failed = all.filter((transfer) => transfer.state === "failed").length;
  const rounding = sum("rounding");
  return [
    tile("transfers", "transfers", all.length), tile("failed", "failed", failed),
    tile("bytes_transferred", "moved", known("bytes_transferred"), "bytes", why("bytes_transferred"), rounding ? `± ${bytes(rounding)}` : null),
    tile("size", "size of the files", known("size"), "bytes", why("size"), rounding ? `± ${bytes(rounding)}` : null),
    tile("files", "files", known("files"), "", why("files")), tile("faults", "faults on the way", sum("faults")),
    tile("retried", "tried again", all.filter((transfer) => transfer.retried).length),
  ];
}

/** Why there is nothing to draw. */
function unmoved(rows) {
  if (!rows.length) return "this run has no transfers";
  return rows.every(({ transfer }) => transfer.bytes_transferred === 0) ? "nothing was moved, files were linked" : "no record tells both times and bytes";
}

function remarks(rows) {
  const untimed = rows.filter(({ transfer, speed }) => transfer.bytes_transferred && !speed.length);
  if (!untimed.length) return [];
  const size = untimed.reduce((total, { transfer }) => total + transfer.bytes_transferred, 0);
  return [h("p", { class: "note" }, `${counted(untimed.length, "transfer")}, ${bytes(size)}, without a word on when it was moved: in the table, not in the charts.`)];
}
