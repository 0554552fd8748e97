// All jobs of a run in a table.

import { h } from "../dom.js";
import { state, value } from "../format.js";
import { VirtualTable } from "../rows.js";

const NUMBERS = [
  ["queue_time", "queue", "s", "8rem"], ["wall_time", "wall", "s", "8rem"], ["cpu_time", "CPU", "s", "8rem"], ["cpu_utilization", "utilisation", "1", "7rem"],
  ["peak_memory", "memory", "bytes", "7rem"], ["bytes_read", "read", "bytes", "7rem"], ["bytes_written", "written", "bytes", "7rem"], ["bytes_transferred", "transferred", "bytes", "7rem"],
];
const WHY = "its own page tells why";

/** The table; `link(job_id)` gives the address of a job's page. */
export function jobTable(link) {
  const number = ([name, title, unit, width]) => ({ title, width, sort: (job) => job[name], cell: (job) => value(name, job[name], unit, WHY) });
  const word = (name, title, width) => ({ title, width, words: true, sort: (job) => job[name], cell: (job) => h("span", { "data-metric": name, "data-value": job[name], title: job[name] }, job[name] ?? "—") });
  return new VirtualTable([
    { title: "job", width: "20rem", words: true, sort: (job) => job.job_id, cell: (job) => h("a", { href: link(job.job_id), title: job.job_id }, job.job_id) },
    { title: "state", width: "7rem", words: true, sort: (job) => job.state, cell: (job) => state(job.state) },
    { title: "tries", width: "5rem", sort: (job) => job.attempts.length, cell: (job) => value("tries", job.attempts.length) },
    ...NUMBERS.map(number),
    word("transformation", "transformation", "12rem"), word("host", "host", "10rem"),
  ], { label: "Jobs", attributes: (job) => ({ "data-job": job.job_id, "data-state": job.state }) });
}
