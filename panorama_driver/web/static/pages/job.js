// A job: its attempts side by side, the chosen one over time, what Darshan and the network say of it, and what it said itself.

import { AnomalyList } from "../anomalies/list.js";
import { spansOf } from "../anomalies/spans.js";
import { Again } from "../again.js";
import { chart } from "../charts.js";
import { Failure } from "../data.js";
import { fill, h, joined, panel, renew, wide } from "../dom.js";
import { bytes, lost, origin, state, terms, tile, time, unknown, value } from "../format.js";
import { attemptCards, exitOf, memoryOf, tcpTerms } from "../job/attempts.js";
import { darshanPanels } from "../job/darshan.js";
import { binned, lacking, ratio, totals } from "../series.js";

const CPU = [["system_time", "system", "#E69F00"], ["user_time", "user", "#0072B2"]];
const MOVED = [
  ["bytes_read", "read from storage", "#0072B2"], ["bytes_written", "written to storage", "#E69F00", "dash"], ["chars_read", "read by calls", "#56B4E9"],
  ["chars_written", "written by calls", "#D55E00", "dash"], ["bytes_transferred", "transferred", "#009E73", "dashdot"],
];
const COUNTS = [["threads", "threads", "#0072B2"], ["procs", "processes", "#E69F00", "dash"]];
const MEMORY = [["rss", "resident memory", "#0072B2"]];
const USED = [["cpu_utilization", "of the cores asked for", "#0072B2"]];
const WAIT = [["io_wait", "all threads together", "#0072B2"], ["io_wait_per_thread", "per thread", "#E69F00", "dash"]];
const STACKED = { stackgroup: "all" };
const TILES = [
  ["wall_time", "wall time", "s"], ["queue_time", "queue", "s"], ["cpu_time", "CPU time", "s"], ["cpu_utilization", "CPU utilisation", "1"],
  ["bytes_read", "read from storage", "bytes"], ["bytes_written", "written to storage", "bytes"], ["bytes_transferred", "transferred", "bytes"],
];
const KEPT = 65536;
const NOT_KEPT = "nobody kept it: often that is done only for attempts that fail";

/** Draw the page of a job. */
export async function show(view, place, source) {
  const page = new Page(place, source);
  await page.read();
  fill(view, page.whole);
  page.draw();
  const stop = source.follow([`workflow/${place.study}/${place.workflow}`], () => page.again.ask());
  await page.readSeries();
  return () => {
    page.again.end();
    stop();
  };
}

class Page {
  constructor(place, source) {
    Object.assign(this, { place, source, document: null, chosen: null, picked: false, key: "" });
    this.again = new Again(() => this.refresh());
    const asked = Number(place.query.get("attempt") ?? NaN);
    if (Number.isInteger(asked)) Object.assign(this, { chosen: asked, picked: true });
    this.head = h("div");
    this.cards = h("div", { class: "attempts" });
    this.tasks = h("div", { class: "panels wide", hidden: true });
    this.chooser = h("div", { class: "bar", role: "group", "aria-label": "Attempt shown below" });
    this.charts = charts();
    this.darshan = darshanPanels();
    this.anomalies = new AnomalyList("anomalies", { source, attemptsOn: (host) => this.attemptsOn(host) });
    this.found = wide(panel("anomalies", "Anomalies", this.anomalies.node));
    this.tcp = h("div");
    this.words = h("div", { class: "panels wide" });
    this.whole = h("div", { "data-study": place.study, "data-workflow": place.workflow, "data-job": place.job }, this.again.trouble, this.head,
      h("div", { class: "panels" }, this.found, wide(panel("attempts", "Attempts", h("p", { class: "note" }, "ⁱ tells where a number came from, unknown tells why: by the mouse, a touch, or the keyboard."), this.cards)), this.tasks),
      this.chooser,
      h("div", { class: "panels" }, Object.values(this.charts), this.darshan, wide(panel("tcp", "TCP connections", this.tcp)), this.words));
  }

  async read() {
    const { study, workflow, job } = this.place;
    const before = this.document;
    this.document = await this.source.job(study, workflow, job);
    this.before = before;
    const numbers = this.document.job.attempts.map(({ attempt }) => attempt);
    if (!this.picked || !numbers.includes(this.chosen)) this.chosen = numbers.at(-1) ?? null;
  }

  /** Read all again and draw what changed. */
  async refresh() {
    await this.read();
    if (this.again.ended) return;
    this.draw();
    await this.readSeries();
  }

  draw() {
    const { document: now } = this;
    renew(this.head, [now.job, now.parents, now.children], () => head(now, this.place, this.source));
    attemptCards(this.cards, now.job.attempts, this.before?.job.attempts);
    if (!now.job.attempts.length) fill(this.cards, h("p", { class: "nothing" }, "It was never submitted."));
    this.found.hidden = !now.anomalies.length;
    this.anomalies.update(now.anomalies);
    this.tasks.hidden = now.job.tasks.length < 2;
    renew(this.tasks, now.job.tasks, () => wide(panel("tasks", `Tasks of its last attempt (${now.job.tasks.length})`, taskTable(now.job.tasks))));
    this.drawChooser();
    this.drawChosen();
  }

  drawChooser() {
    const numbers = this.document.job.attempts.map(({ attempt }) => attempt);
    this.chooser.hidden = numbers.length < 2;
    renew(this.chooser, [numbers, this.chosen], () => [
      h("span", {}, "Below: attempt"),
      numbers.map((number) => h("button", { type: "button", "data-choose": number, "aria-pressed": String(number === this.chosen), on: { click: () => this.choose(number) } }, number)),
    ]);
  }

  /** Attempts of this job on a host. */
  attemptsOn(host) {
    const { job } = this.document;
    return job.attempts.filter((attempt) => attempt.host === host).map(({ attempt }) => ({ job_id: job.job_id, attempt }));
  }

  /** When the chosen attempt was not as it should be. */
  spans() {
    const { job, anomalies } = this.document;
    const attempt = job.attempts.find((one) => one.attempt === this.chosen);
    return attempt ? spansOf(anomalies, job.job_id, attempt) : [];
  }

  drawChosen() {
    const { job, details } = this.document;
    const attempt = job.attempts.find((one) => one.attempt === this.chosen) ?? { ...job, attempt: null };
    const more = details.find((one) => one.attempt === this.chosen) ?? { heatmaps: [] };
    const key = JSON.stringify([attempt.darshan, attempt.reasons.darshan, more.heatmaps]);
    if (this.key !== key) this.darshan.update(attempt, more.heatmaps);
    this.key = key;
    renew(this.tcp, [attempt.tcp, attempt.reasons.tcp], () => (attempt.tcp ? tcpTerms(attempt.tcp) : lost("tcp", attempt.reasons.tcp)));
    renew(this.words, [more.command, more.work_dir, more.stdout, more.stderr], () => said(more));
  }

  async choose(number) {
    Object.assign(this, { chosen: number, picked: true });
    this.drawChooser();
    this.chooser.querySelector(`[data-choose="${number}"]`).focus();
    this.drawChosen();
    await this.readSeries();
  }

  async readSeries() {
    const { study, workflow, job } = this.place;
    if (this.chosen === null) return paint(this.charts, null, "it was never submitted");
    const asked = this.chosen;
    try {
      const { series } = await this.source.series(study, workflow, { job, attempt: asked });
      if (asked === this.chosen) paint(this.charts, series, "", this.spans());
    } catch (problem) {
      if (!(problem instanceof Failure)) throw problem;
      if (asked === this.chosen) paint(this.charts, null, problem.message);
    }
  }
}

function head({ job, parents, children }, place, source) {
  const link = (id) => h("a", { href: source.link("studies", place.study, "workflows", place.workflow, "jobs", id) }, id);
  const listed = (ids) => (ids.length ? joined(ids.map(link), ", ") : "none");
  const named = (name) => (job[name] === null || job[name] === undefined ? unknown(name, job.reasons[name]) : h("span", { "data-metric": name, "data-value": job[name] }, job[name]));
  return [
    h("h1", {}, place.job, " ", state(job.state)),
    h("div", { class: "tiles" }, TILES.map(([name, title, unit]) => tile(name, title, job[name], unit, job.reasons[name])),
      h("div", { class: "tile" }, h("span", { class: "figure" }, memoryOf(job)), h("span", { class: "caption" }, "peak memory"))),
    panel("job", "Job", terms([
      ["job", h("span", { class: "mono" }, place.job)], ["transformation", named("transformation")], ["type", named("type")], ["site", named("site")],
      ["host", named("host")], ["cores", value("cores", job.cores, "", job.reasons.cores)], ["exit code", exitOf(job)],
      ["tries", value("tries", job.attempts.length)], ["retries", value("retries", Math.max(0, job.attempts.length - 1))],
      ["all tries together", value("cumulative_time", job.cumulative_time, "s", job.reasons.cumulative_time), origin(job.sources.cumulative_time)],
      ["programs in it", value("tasks", job.tasks.length)],
    ]), h("p", { class: "links" }, "before it: ", listed(parents)), h("p", { class: "links" }, "after it: ", listed(children)), job.failure ? h("p", { class: "failed-words", "data-metric": "failure" }, job.failure) : null),
  ];
}

function taskTable(tasks) {
  const columns = [["wall_time", "wall", "s"], ["cpu_time", "CPU", "s"], ["bytes_read", "read", "bytes"], ["bytes_written", "written", "bytes"], ["io_wait", "I/O wait", "s"]];
  const row = (task) => h("tr", { "data-task": task.task_id ?? task.invocation },
    h("td", {}, task.invocation), h("td", { class: "words" }, task.task_id ?? unknown("task_id", task.reasons.task_id)),
    h("td", { class: "words" }, task.transformation ?? unknown("transformation", task.reasons.transformation)), h("td", {}, value("exit_code", task.exit_code, "", task.reasons.exit_code)),
    h("td", {}, time(task.start, "start", task.reasons.start)), h("td", {}, memoryOf(task)), columns.map(([name, , unit]) => h("td", {}, value(name, task[name], unit, task.reasons[name]))));
  const heads = ["", "task", "transformation", "exit code", "started", "peak memory", ...columns.map(([, title]) => title)];
  return h("div", { class: "scroll short" }, h("table", {}, h("thead", {}, h("tr", {}, heads.map((title, i) => h("th", { class: i === 1 || i === 2 ? "words" : null }, title)))), h("tbody", {}, tasks.map(row))));
}

function charts() {
  const made = (name, title, unit, more = {}) => chart(`job-${name}`, title, null, { time: true, unit, ...more });
  return {
    cpu: made("cpu", "User and system time per interval", "s"), cpuTotal: made("cpu-total", "User and system time, cumulative", "s"),
    used: made("utilization", "CPU utilisation", "", { layout: { yaxis: { tickformat: ".0%" } } }), memory: made("memory", "Memory", "", { size: "B" }),
    counts: made("threads", "Threads and processes", ""), wait: made("io-wait", "I/O wait per interval", "s"),
    moved: made("bytes", "Bytes per interval", "", { size: "B" }), movedTotal: made("bytes-total", "Bytes, cumulative", "", { size: "B" }),
  };
}

/** Draw the charts of an attempt; without a series, say why there is none. */
function paint(shown, series, reason = "", spans = []) {
  const draw = (one, columns, way = binned, more = {}, from = series) => (from ? one.update(way(from, columns, more), lacking(from, columns), spans) : one.update([], reason));
  const waits = series && { ...series, io_wait_per_thread: ratio(series, "io_wait", "threads"), reasons: { ...series.reasons, io_wait_per_thread: series.reasons.io_wait ?? series.reasons.threads } };
  draw(shown.cpu, CPU, binned, STACKED);
  draw(shown.cpuTotal, CPU, totals, STACKED);
  draw(shown.used, USED);
  draw(shown.memory, MEMORY, binned, { fill: "tozeroy" });
  draw(shown.counts, COUNTS);
  draw(shown.wait, WAIT, binned, {}, waits);
  draw(shown.moved, MOVED);
  draw(shown.movedTotal, MOVED, totals);
}

function said({ command = null, work_dir: where = null, stdout = null, stderr = null }) {
  return [
    wide(panel("command", "Command", h("h3", {}, "command line"), words("command", command || null, "no record tells it"),
      h("h3", {}, "working directory"), words("work_dir", where || null, "no record tells it"))),
    wide(panel("stdout", "Standard output, the end of it", words("stdout", stdout, NOT_KEPT))),
    wide(panel("stderr", "Standard error, the end of it", words("stderr", stderr, NOT_KEPT))),
  ];
}

function words(name, text, reason) {
  if (text === null) return lost(name, reason);
  if (!text) return h("p", { class: "nothing", "data-metric": name, "data-value": "" }, "It is empty.");
  const size = new TextEncoder().encode(text).length;
  const shown = h("pre", { "data-metric": name, tabindex: 0, "aria-label": name }, text);
  const told = h("span", { class: "note", role: "status" }, size >= KEPT ? `the last ${bytes(size)}` : bytes(size));
  return h("div", { class: "kept" }, h("div", { class: "bar" }, told, h("button", { type: "button", on: { click: () => copy(text, shown, told) } }, "copy")), shown);
}

/** Copy a text; where the browser does not allow that, mark it for the person to copy. */
async function copy(text, shown, told) {
  try {
    await navigator.clipboard.writeText(text);
    fill(told, "copied");
  } catch {
    getSelection().selectAllChildren(shown);
    fill(told, "marked: copy it with the keyboard");
  }
}
