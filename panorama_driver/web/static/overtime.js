// A run over time: what its jobs used together, per interval and as running totals.

import { chart } from "./charts.js";
import { h } from "./dom.js";
import { seconds } from "./format.js";
import { binned, lacking, totals } from "./series.js";

const SIZE = "size";
const THOUSAND = 1000; // [bytes] below which an axis has whole bytes
const SHARE = { yaxis: { tickformat: ".0%" } };
const STORAGE = [["bytes_read", "read from storage", "#0072B2"], ["bytes_written", "written to storage", "#E69F00"]];
const CALLS = [["chars_read", "read by calls", "#56B4E9"], ["chars_written", "written by calls", "#D55E00"]];
const MOVED = [["bytes_transferred", "transferred", "#009E73"]];
const PLANS = [
  ["cpu-utilization", "CPU utilisation", { layout: SHARE, note: "CPU seconds over cores × seconds observed" }, [["cpu_utilization", "of the cores asked for", "#0072B2"]]],
  ["cpu", "CPU cores busy", { unit: "cores", note: "CPU seconds per second" }, [["system_cores", "system", "#E69F00"], ["user_cores", "user", "#0072B2"]], binned, { stackgroup: "all" }],
  ["threads", "Threads and processes", { note: "largest number in each interval" }, [["threads", "threads", "#0072B2"], ["procs", "processes", "#E69F00"]]],
  ["memory", "Memory", { layout: SIZE, note: "largest resident memory in each interval, all jobs together" }, [["rss", "resident memory", "#0072B2"]], binned, { fill: "tozeroy" }],
  ["bytes", "Bytes read and written per interval", { layout: SIZE }, STORAGE],
  ["bytes-total", "Bytes read and written, cumulative", { layout: SIZE }, STORAGE, totals],
  ["calls", "Bytes of read and write calls per interval", { layout: SIZE, note: "cache and pipes included" }, CALLS],
  ["calls-total", "Bytes of read and write calls, cumulative", { layout: SIZE, note: "cache and pipes included" }, CALLS, totals],
  ["transferred", "Bytes transferred per interval", { layout: SIZE }, MOVED],
  ["transferred-total", "Bytes transferred, cumulative", { layout: SIZE }, MOVED, totals],
  ["io-wait", "I/O wait per thread", { unit: "s per s", note: "seconds that a thread waited for block input and output, in each second" }, [["io_wait_per_thread", "I/O wait", "#0072B2"]]],
];

/** Panels with charts, and `update(series, reason)` for all of them. */
export function overTime() {
  const made = PLANS.map(([name, title, asked, ...plan]) => ({ ...drawn(name, title, asked), plan }));
  const update = (series, why) => made.forEach((one) => draw(one, series && derived(series), why));
  return { panels: made.map(({ panel }) => panel), update };
}

function drawn(name, title, { note = null, layout = {}, ...asked }) {
  const width = h("span");
  const own = { ...(layout === SIZE ? { yaxis: {} } : layout) };
  const said = h("span", {}, note ? `${note}; ` : "", width);
  return { panel: chart(name, title, [], { time: true, note: said, reason: "reading …", layout: own, ...asked }), width, sized: layout === SIZE ? own : null };
}

function draw({ panel, width, sized, plan: [columns, way = binned, more = {}] }, series, why) {
  if (!series) return panel.update([], why);
  width.textContent = series.time.length ? `${way === totals ? "added up from" : ""} intervals of ${seconds(series.width)}`.trim() : "no interval";
  const traces = way(series, columns, more);
  if (sized) sized.yaxis = sizeAxis(traces);
  return panel.update(traces, lacking(series, columns));
}

/** Bytes on an axis: whole ones where there are few, and 0 alone where nothing was moved. */
function sizeAxis(traces) {
  const most = traces.reduce((all, { y }) => y.reduce((high, amount) => Math.max(high, amount ?? 0), all), 0);
  if (!most) return { tickvals: [0], ticktext: ["0 B"], range: [-0.05, 1] };
  return most < THOUSAND ? { tickformat: ",d", ticksuffix: " B", ...(most < 8 ? { dtick: 1 } : {}) } : { tickformat: "~s", ticksuffix: "B" };
}

/** What is shown as a rate, which the series hold as amounts of a bin. */
function derived(series) {
  const rate = (column) => series[column]?.map((amount) => (amount === null ? null : amount / series.width)) ?? null;
  const wait = rate("io_wait");
  const { threads, reasons } = series;
  return {
    ...series, user_cores: rate("user_time"), system_cores: rate("system_time"),
    io_wait_per_thread: wait && threads && wait.map((each, i) => (threads[i] ? each / threads[i] : null)),
    reasons: { ...reasons, user_cores: reasons.user_time, system_cores: reasons.system_time, io_wait_per_thread: wait ? reasons.threads : reasons.io_wait },
  };
}
