// A workflow run: its jobs as a DAG and over time, its numbers, what failed, what made it, and how complete its events are.

import { actionList } from "../anomalies/actions.js";
import { numberOf } from "../anomalies/kinds.js";
import { AnomalyList } from "../anomalies/list.js";
import { Again } from "../again.js";
import { Failure } from "../data.js";
import { fill, h, panel, renew, wide } from "../dom.js";
import { counted, tile, time, value } from "../format.js";
import { completeness, failures, outcome, provenance, shares } from "../workflow/background.js";
import { characteristics, progress, reason } from "../workflow/characteristics.js";
import { Dag } from "../workflow/dag.js";
import { Gantt } from "../workflow/gantt.js";
import { jobTable } from "../workflow/jobs.js";
import { overTime } from "../workflow/overtime.js";

const SERIES_PAUSE = 5000; // [ms] between two readings of the amounts over time
const TILES = [
  ["makespan", "makespan", "s"], ["cpu_time", "CPU time", "s"], ["cpu_utilization", "CPU utilisation", "1"], ["peak_memory", "peak memory", "bytes"],
  ["bytes_read", "read from storage", "bytes"], ["bytes_written", "written to storage", "bytes"], ["bytes_transferred", "transferred", "bytes"],
];

/** Draw the page of a workflow run. */
export async function show(view, place, source) {
  const page = new Page(place, source);
  await page.read();
  fill(view, page.whole);
  page.draw();
  const stop = source.follow([`workflow/${place.study}/${place.workflow}`], () => page.again.ask());
  page.readRest();
  return () => {
    page.end();
    stop();
  };
}

class Page {
  constructor(place, source) {
    Object.assign(this, { place, source, now: null, ended: false, told: "" });
    this.again = new Again(() => this.refresh());
    const link = (job, attempt) => this.jobLink(job, attempt);
    this.dag = new Dag(link);
    this.gantt = new Gantt(link, source.live);
    this.jobs = jobTable(link);
    this.anomalies = new AnomalyList("anomalies", { source, attemptsOn: (host) => this.attemptsOn(host) });
    this.done = h("div");
    this.found = wide(panel("anomalies", "Anomalies", this.anomalies.node, this.done));
    this.overTime = overTime();
    this.parts = Object.fromEntries(["head", "tiles", "reading", "times", "numbers", "failures", "provenance", "completeness", "transfers"].map((name) => [name, h("div")]));
    this.parts.reading.setAttribute("role", "status");
    this.whole = this.frame();
  }

  frame() {
    const { place, parts } = this;
    return h("div", { "data-study": place.study, "data-workflow": place.workflow }, this.again.trouble, parts.head, parts.reading, parts.tiles,
      h("div", { class: "panels" },
        wide(panel("dag", "Jobs and what they wait for", this.dag.element)), wide(panel("gantt", "Attempts over time", this.gantt.element)), this.found,
        panel("times", "Where the time went", parts.times), panel("failures", "Failures", parts.failures), wide(panel("characteristics", "Characteristics", parts.numbers)),
        this.overTime.panels, wide(panel("jobs", "Jobs", this.jobs.node)),
        panel("provenance", "Provenance", parts.provenance), panel("completeness", "Completeness of the data", parts.completeness)));
  }

  jobLink(job, attempt = null) {
    const { study, workflow } = this.place;
    return this.source.link("studies", study, "workflows", workflow, "jobs", job) + (attempt !== null && this.source.live ? `?attempt=${attempt}` : "");
  }

  /** Attempts of all jobs on a host. */
  attemptsOn(host) {
    return this.now.jobs.flatMap((job) => job.attempts.filter((attempt) => attempt.host === host).map(({ attempt }) => ({ job_id: job.job_id, attempt })));
  }

  async read() {
    this.now = await this.source.workflow(this.place.study, this.place.workflow);
  }

  async refresh() {
    await this.read();
    if (this.ended) return;
    this.draw();
    this.readSeries();
  }

  draw() {
    const { now, parts } = this;
    const { metrics } = now;
    renew(parts.head, [metrics.state, metrics.label, metrics.start, metrics.end, metrics.makespan, now.evaluation, now.anomalies.map(({ anomaly_id: id, over }) => [id, over]), now.jobs.map((job) => job.failure)], () => this.head());
    renew(parts.reading, [now.samples, now.samples_read], () => (now.samples_read < now.samples ? [h("p", { class: "reading" }, `reading traces: ${progress(now.samples, now.samples_read)}`, h("progress", { max: now.samples, value: now.samples_read, "aria-hidden": "true" }))] : []));
    renew(parts.tiles, [metrics, now.samples_read < now.samples && now.samples_read], () => this.tiles());
    this.dag.update(now.jobs, now.edges, metrics.critical_path_jobs, now.anomalies);
    this.gantt.update(now.jobs, metrics, now.anomalies);
    this.drawAnomalies();
    renew(parts.times, [now.times, metrics.state], () => shares(now.times, metrics.end === null));
    renew(parts.failures, now.jobs.filter((job) => job.state === "failed" || job.attempts.length > 1), () => failures(now.jobs, (job, attempt) => this.jobLink(job, attempt)));
    renew(parts.numbers, [metrics, now.samples, now.samples_read], () => characteristics(now));
    renew(parts.provenance, [now.provenance, metrics.label], () => provenance(now));
    renew(parts.completeness, [now.completeness, now.samples_read < now.samples], () => completeness(now.completeness, now.samples_read < now.samples ? "traces are still being read" : ""));
    this.jobs.show(now.jobs);
  }

  /** What was found in it, and what was done that answers none of that. */
  drawAnomalies() {
    const { anomalies, actions } = this.now;
    const told = new Set(anomalies.flatMap((row) => row.actions.map(({ action }) => action.action_id)));
    const others = actions.filter(({ action }) => !told.has(action.action_id));
    this.found.hidden = !anomalies.length && !others.length;
    this.anomalies.update(anomalies);
    renew(this.done, others, () => (others.length ? [h("h3", {}, "What else was done"), actionList(others, this.source)] : []));
  }

  head() {
    const { metrics, evaluation, wf_uuid } = this.now;
    const study = h("a", { href: this.source.link("studies", this.place.study) }, this.place.study);
    const of = (values, what) => Object.entries(values ?? {}).map(([name, known], i) => [i ? ", " : "", `${name} = `, value(`${what}.${name}`, known)]);
    const lines = [
      ["study", study, evaluation && [", evaluation ", value("evaluation", evaluation.eval_id)]],
      evaluation && ["parameters", of(evaluation.variables, "parameter")], evaluation && ["responses", of(evaluation.responses, "response")],
      ["time", time(metrics.start, "start", reason(this.now, "start")), metrics.state === "running" ? ", still running" : [" to ", time(metrics.end, "end", reason(this.now, "end"))]],
      this.now.anomalies.length > 0 && ["anomalies", h("button", { type: "button", class: "plain", on: { click: () => this.found.scrollIntoView() } }, numberOf(this.now.anomalies.length)), `, ${this.now.anomalies.filter(({ over }) => over === null).length} going on`],
      ["run", h("span", { class: "mono", "data-metric": "wf_uuid", "data-value": wf_uuid }, wf_uuid)], ["transfers", this.parts.transfers],
    ];
    const shown = lines.filter((line) => line && line.slice(1).flat().length);
    return [h("h1", {}, metrics.label ?? wf_uuid, " ", outcome(this.now)), h("dl", { class: "lines" }, shown.map(([term, ...what]) => [h("dt", {}, term), h("dd", {}, ...what)]))];
  }

  tiles() {
    const { metrics } = this.now;
    const count = (name) => value(name, metrics[name], "", metrics.reasons[name]);
    const jobs = h("div", { class: "tile" }, h("span", { class: "figure" }, count("jobs_succeeded"), " of ", count("jobs_total")), h("span", { class: "caption" }, "jobs done"),
      h("span", { class: "note" }, count("jobs_failed"), " failed, ", count("jobs_retried"), " tried again", metrics.jobs_active ? [", ", count("jobs_active"), " going on"] : null));
    return h("div", { class: "tiles" }, TILES.map(([name, title, unit]) => tile(name, title, metrics[name], unit, reason(this.now, name))), jobs);
  }

  /** What the first paint does not wait for. */
  async readRest() {
    fill(this.parts.transfers, this.transferLink("all transfers"));
    await this.readSeries();
  }

  async readSeries() {
    const { study, workflow } = this.place;
    const { metrics, samples_read: read } = this.now;
    const told = JSON.stringify([metrics.state, read, metrics.jobs_succeeded, metrics.jobs_failed, metrics.bytes_read]);
    if (told === this.told || this.reading) return;
    this.reading = true;
    this.told = told;
    try {
      const { series } = await this.source.series(study, workflow);
      if (!this.ended) this.overTime.update(series);
    } catch (problem) {
      if (!(problem instanceof Failure)) throw problem;
      if (!this.ended) this.overTime.update(null, problem.message);
    } finally {
      await this.readTransfers();
      setTimeout(() => this.seriesDone(), this.source.live ? SERIES_PAUSE : 0);
    }
  }

  /** Another reading may begin, and does if something has moved since. */
  seriesDone() {
    this.reading = false;
    if (!this.ended && this.source.live) this.readSeries();
  }

  async readTransfers() {
    try {
      const { transfers } = await this.source.transfers(this.place.study, this.place.workflow);
      const faults = transfers.reduce((sum, { transfer }) => sum + transfer.faults, 0);
      const failed = transfers.filter(({ transfer }) => transfer.state === "failed").length;
      fill(this.parts.transfers, this.transferLink(counted(transfers.length, "transfer")), `, ${failed} failed, ${counted(faults, "fault")}`);
    } catch (problem) {
      if (!(problem instanceof Failure)) throw problem;
    }
  }

  transferLink(words) {
    return h("a", { href: this.source.link("studies", this.place.study, "workflows", this.place.workflow, "transfers") }, words);
  }

  end() {
    this.ended = true;
    this.again.end();
    this.gantt.end();
  }
}
