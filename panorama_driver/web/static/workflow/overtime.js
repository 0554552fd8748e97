// A run over time: what its jobs used together, per interval and as running totals.

import { chart } from "../charts.js";
import { h } from "../dom.js";
import { seconds } from "../format.js";
import { binned, lacking, ratio, totals } from "../series.js";

const SIZE = { size: "B" };
const SHARE = { yaxis: { tickformat: ".0%" } };
const STORAGE = [["bytes_read", "read from storage", "#0072B2"], ["bytes_written", "written to storage", "#E69F00"]];
const CALLS = [["chars_read", "read by calls", "#56B4E9"], ["chars_written", "written by calls", "#D55E00"]];
const MOVED = [["bytes_transferred", "transferred", "#009E73"]];
const PLANS = [
  ["cpu-utilization", "CPU utilisation", { layout: SHARE, note: "CPU seconds over cores × seconds observed" }, [["cpu_utilization", "of the cores asked for", "#0072B2"]]],
  ["cpu", "CPU cores busy", { unit: "cores", note: "CPU seconds per second" }, [["system_cores", "system", "#E69F00"], ["user_cores", "user", "#0072B2"]], binned, { stackgroup: "all" }],
  ["threads", "Threads and processes", { note: "largest number in each interval" }, [["threads", "threads", "#0072B2"], ["procs", "processes", "#E69F00"]]],
  ["memory", "Memory", { ...SIZE, note: "largest resident memory in each interval, all jobs together" }, [["rss", "resident memory", "#0072B2"]], binned, { fill: "tozeroy" }],
  ["bytes", "Bytes read and written per interval", SIZE, STORAGE],
  ["bytes-total", "Bytes read and written, cumulative", SIZE, STORAGE, totals],
  ["calls", "Bytes of read and write calls per interval", { ...SIZE, note: "cache and pipes included" }, CALLS],
  ["calls-total", "Bytes of read and write calls, cumulative", { ...SIZE, note: "cache and pipes included" }, CALLS, totals],
  ["transferred", "Bytes transferred per interval", SIZE, MOVED],
  ["transferred-total", "Bytes transferred, cumulative", SIZE, MOVED, totals],
  ["io-wait", "I/O wait per thread", { unit: "s per s", note: "seconds that a thread waited for block input and output, in each second" }, [["io_wait_per_thread", "I/O wait", "#0072B2"]]],
];

/** Panels with charts, and `update(series, reason)` for all of them. */
export function overTime() {
  const made = PLANS.map(([name, title, asked, ...plan]) => ({ ...drawn(name, title, asked), plan }));
  const update = (series, why) => made.forEach((one) => draw(one, series && derived(series), why));
  return { panels: made.map(({ panel }) => panel), update };
}

function drawn(name, title, { note = null, ...asked }) {
  const width = h("span");
  const said = h("span", {}, note ? `${note}; ` : "", width);
  return { panel: chart(name, title, null, { time: true, note: said, ...asked }), width };
}

function draw({ panel, width, plan: [columns, way = binned, more = {}] }, series, why) {
  if (!series) return panel.update([], why);
  width.textContent = series.time.length ? `${way === totals ? "added up from" : ""} intervals of ${seconds(series.width)}`.trim() : "no interval";
  return panel.update(way(series, columns, more), lacking(series, columns));
}

/** What is shown as a rate, which the series hold as amounts of a bin. */
function derived(series) {
  const rate = (column) => series[column]?.map((amount) => (amount === null ? null : amount / series.width)) ?? null;
  const wait = rate("io_wait");
  const { reasons } = series;
  return {
    ...series, user_cores: rate("user_time"), system_cores: rate("system_time"), io_wait_per_thread: ratio({ ...series, wait }, "wait", "threads"),
    reasons: { ...reasons, user_cores: reasons.user_time, system_cores: reasons.system_time, io_wait_per_thread: wait ? reasons.threads : reasons.io_wait },
  };
}
