// The numbers of a run in groups, each with its unit, and why one is not known.

import { h } from "../dom.js";
import { origin, seconds, terms, time, value } from "../format.js";

/** What only traces tell completely. */
const TRACED = new Set(["cpu_time", "user_time", "system_time", "cpu_utilization", "peak_memory", "bytes_read", "bytes_written", "chars_read", "chars_written", "read_calls", "write_calls", "io_wait", "io_time"]);
const GROUPS = [
  ["Time", [
    ["start", "started", "moment"], ["end", "ended", "moment"], ["makespan", "makespan", "s"], ["active_time", "makespan without pauses before a restart", "s"],
    ["restarts", "restarts"], ["cumulative_time", "wall time of all attempts", "s"], ["queue_time", "queue of all attempts", "s"], ["stage_in_time", "stage-in jobs", "s"],
    ["stage_out_time", "stage-out jobs", "s"], ["critical_path", "critical path", "s"], ["ideal_makespan", "ideal makespan: no queue, no failure", "s"],
    ["efficiency", "ideal makespan over makespan", "1"], ["parallel_efficiency", "core time over slots and makespan", "1"],
  ]],
  ["Processor and memory", [
    ["cpu_time", "CPU time", "s"], ["user_time", "user time", "s"], ["system_time", "system time", "s"], ["core_time", "wall time × cores", "s"],
    ["cpu_utilization", "CPU utilisation", "1"], ["peak_memory", "peak memory of one attempt", "bytes"],
  ]],
  ["Input and output of compute jobs", [
    ["bytes_read", "read from storage", "bytes"], ["bytes_written", "written to storage", "bytes"], ["chars_read", "read by calls", "bytes"], ["chars_written", "written by calls", "bytes"],
    ["read_calls", "read calls"], ["write_calls", "write calls"], ["io_wait", "I/O wait, all threads", "s"], ["io_time", "I/O time, staging included", "s"],
  ]],
  ["Transfers", [["bytes_transferred", "transferred", "bytes"], ["bytes_staged", "staged, by copy or by link", "bytes"]]],
  ["Jobs", [
    ["jobs_total", "jobs"], ["jobs_succeeded", "done"], ["jobs_failed", "failed"], ["jobs_active", "queued or running"], ["jobs_unsubmitted", "waiting"], ["jobs_retried", "tried more than once"],
    ["unmatched", "worker records of no known attempt"], ["guessed", "worker records given to an attempt by their time"],
  ]],
  ["Features (doi:10.1109/HPEC43674.2020.9286139)", [
    ["j_s", "j_s: attempts that succeeded", "1"], ["j_f", "j_f: attempts that failed", "1"], ["t_s", "t_s: mean time of those that succeeded", "s"], ["t_f", "t_f: mean time of those that failed", "s"],
    ["o_1_s", "o_1_s: jobs that succeeded", "1"],
  ]],
];

/** Why a number of a run is not known; while traces are being read, that. */
export function reason({ metrics, samples, samples_read: read }, name) {
  if (read < samples && TRACED.has(name)) return `still being read: ${progress(samples, read)} of the traces are`;
  if (metrics.state === "running" && (name === "end" || name === "makespan") && !metrics.reasons[name]) return "it has not ended";
  return metrics.reasons[name];
}

/** How far reading has come. */
export function progress(samples, read) {
  return `${Math.floor((100 * read) / samples)} %`;
}

/** All of them. */
export function characteristics(now) {
  const { metrics } = now;
  const shown = (name, unit) => (unit === "moment" ? time(metrics[name], name, reason(now, name)) : value(name, metrics[name], unit, reason(now, name)));
  const group = ([title, rows]) => h("div", {}, h("h3", {}, title), terms(rows.map(([name, words, unit]) => [words, shown(name, unit), origin(metrics.sources[name])])));
  return [...GROUPS.map(group), ran(metrics)];
}

function ran({ critical_path_jobs: chain, critical_path: length }) {
  if (!chain?.length) return null;
  return h("p", { class: "note" }, `Critical path${length === null ? "" : `, ${seconds(length)}`}: `, chain.join(" → "));
}
