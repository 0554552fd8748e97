// What Darshan's logs say of an attempt: processes, modules, access sizes, files, and bytes over time by process.

import { chart } from "../charts.js";
import { fill, h, panel } from "../dom.js";
import { bytes, lost, terms, utc, value } from "../format.js";

const MODULES = { posix: "POSIX", stdio: "STDIO", mpiio: "MPI-IO", h5f: "HDF5 files", h5d: "HDF5 data sets" };
const MEASURES = [
  ["bytes_total", "read and written", "bytes"], ["agg_perf_by_slowest", "speed, by the slowest process", "MiB/s"],
  ["agg_time_by_slowest", "time of the slowest process", "s"], ["bytes_read", "read", "bytes"], ["bytes_written", "written", "bytes"],
  ["opens", "opens", ""], ["reads", "reads", ""], ["writes", "writes", ""], ["seeks", "seeks", ""], ["stats", "stats", ""], ["flushes", "flushes", ""],
  ["read_time", "time in reads", "s"], ["write_time", "time in writes", "s"], ["meta_time", "time in opens, seeks, ...", "s"], ["io_time", "all of these", "s"],
  ["files", "files", ""], ["files_read_only", "only read", ""], ["files_write_only", "only written", ""], ["files_read_write", "read and written", ""],
  ["files_shared", "of several processes", ""], ["files_unique", "of one process", ""],
];
const SIZES = ["0–100 B", "–1 kB", "–10 kB", "–100 kB", "–1 MB", "–4 MB", "–10 MB", "–100 MB", "–1 GB", "more"];
const TONES = { posix: ["#0072B2", "#E69F00"], mpiio: ["#009E73", "#CC79A7"], stdio: ["#56B4E9", "#D55E00"], h5d: ["#7F7F7F", "#F0E442"] };

/** The panels of Darshan: made once, `update(attempt, heatmaps)` shows an attempt in them. */
export function darshanPanels() {
  const body = h("div");
  const sizes = chart("darshan-sizes", "Access sizes (Darshan)", null, { unit: "calls" });
  const heat = h("div", { class: "panels wide" });
  const whole = panel("darshan", "Darshan", body);
  whole.classList.add("wide");
  const shown = h("div", { class: "panels wide" }, whole, sizes, heat);
  shown.update = ({ darshan, reasons }, heatmaps) => {
    fill(body, darshan ? told(darshan) : lost("darshan", reasons.darshan));
    sizes.hidden = !darshan;
    sizes.update(darshan ? accesses(darshan) : [], "the logs tell no access sizes");
    const charts = heatmaps.flatMap((map, i) => [heatmap(map, i, "read"), heatmap(map, i, "written")]).filter(Boolean);
    fill(heat, ...charts.map(({ made }) => made));
    heat.hidden = !charts.length;
    for (const { made, traces } of charts) made.update(traces);
  };
  return shown;
}

function told(darshan) {
  const known = (name, unit) => value(name, darshan[name], unit, darshan.reasons[name]);
  const lasted = darshan.start !== null && darshan.end !== null ? darshan.end - darshan.start : null;
  return [
    terms([
      ["processes", known("processes", "")], ["logs", known("logs", "")], ["logs not read", known("logs_unread", "")],
      ["they tell", h("span", { "data-metric": "complete", "data-value": String(darshan.complete) }, darshan.complete ? "all" : "a lower bound")],
      ["run time", value("run_time", lasted, "s", darshan.reasons.start ?? darshan.reasons.end)],
      ["read", known("bytes_read", "bytes")], ["written", known("bytes_written", "bytes")], ["time in reads", known("read_time", "s")],
      ["time in writes", known("write_time", "s")], ["time in opens, seeks, ...", known("meta_time", "s")], ["all I/O time", known("io_time", "s")],
    ]),
    darshan.problems.length ? h("ul", { class: "note" }, darshan.problems.map((problem) => h("li", {}, problem))) : null,
    modules(darshan), commons(darshan), largest(darshan), lustre(darshan),
  ];
}

function used(darshan) {
  return Object.entries(MODULES).filter(([name]) => darshan[name]);
}

function modules(darshan) {
  const there = used(darshan);
  const absent = Object.entries(MODULES).filter(([name]) => !darshan[name]).map(([, title]) => title);
  const head = h("tr", {}, h("th", {}, "module"), there.map(([name, title]) => h("th", {}, title, darshan[name].partial ? " (lower bound)" : "")));
  const cell = (name, metric, unit) => h("td", { "data-module": name }, value(metric, darshan[name][metric], unit, darshan[name].reasons[metric]));
  const row = ([metric, title, unit]) => h("tr", {}, h("th", { scope: "row", class: "words" }, title), there.map(([name]) => cell(name, metric, unit)));
  return [
    h("h3", {}, "By module"),
    there.length ? h("div", { class: "scroll" }, h("table", { class: "by-module" }, h("thead", {}, head), h("tbody", {}, MEASURES.map(row)))) : null,
    absent.length ? h("p", { class: "note" }, `Not in the logs: ${absent.join(", ")}. MPI-IO and HDF5 move their bytes through POSIX.`) : null,
  ];
}

function commons(darshan) {
  const rows = used(darshan).flatMap(([name, title]) => darshan[name].common_sizes.map(([size, count]) => [title, size, count]));
  if (!rows.length) return null;
  const line = ([title, size, count]) => h("tr", {}, h("td", {}, title), h("td", {}, value("access_size", size, "bytes")), h("td", {}, value("accesses", count)));
  return [h("h3", {}, "Most frequent access sizes"), table(["module", "size", "calls"], rows.map(line))];
}

function largest({ largest_files: files }) {
  if (!files.length) return null;
  const line = (file) => h("tr", {}, h("td", { class: "words mono" }, file.name), h("td", {}, value("bytes_read", file.bytes_read, "bytes")),
    h("td", {}, value("bytes_written", file.bytes_written, "bytes")), h("td", {}, value("processes", file.processes)));
  return [h("h3", {}, "Largest files"), table(["file", "read", "written", "processes"], files.map(line))];
}

function lustre({ lustre: found }) {
  if (!found) return null;
  const listed = (values, shown = String) => values.map(shown).join(", ") || "none";
  return [h("h3", {}, "Lustre"), terms([["stripe sizes", listed(found.stripe_sizes, bytes)], ["stripe counts", listed(found.stripe_counts)], ["storage targets", listed(found.osts)]])];
}

function table(heads, rows) {
  return h("div", { class: "scroll short" }, h("table", {}, h("thead", {}, h("tr", {}, heads.map((head) => h("th", {}, head)))), h("tbody", {}, rows)));
}

function accesses(darshan) {
  return used(darshan).flatMap(([name, title]) =>
    [["read_sizes", "reads"], ["write_sizes", "writes"]].flatMap(([metric, word], i) => {
      const counts = darshan[name][metric];
      return counts?.some(Boolean) ? [{ type: "bar", name: `${title} ${word}`, metric, x: SIZES, y: counts, color: TONES[name]?.[i] }] : [];
    }));
}

/** Bytes over time, a row a process; null where nothing moved. */
function heatmap(map, place, metric) {
  const amounts = map[metric];
  if (!amounts.some((row) => row.some(Boolean))) return null;
  const dated = map.start !== null && map.start !== undefined;
  const x = Array.from({ length: amounts.reduce((most, row) => Math.max(most, row.length), 0) }, (_, i) => (dated ? map.start : 0) + (i + 0.5) * map.width);
  const when = x.map((middle) => (dated ? utc(middle) : `${middle} s`));
  const y = map.rows.length ? map.rows : amounts.map((_, i) => String(i));
  const trace = {
    type: "heatmap", metric, x, y, z: amounts, text: amounts.map((row) => row.map((amount, i) => `${bytes(amount)}, ${when[i]}`)),
    hovertemplate: "%{y}: %{text}<extra></extra>", zmin: 0, zmax: amounts.flat().reduce((most, amount) => Math.max(most, amount), 5), colorscale: "Cividis", colorbar: { title: { text: "bytes" }, tickformat: "~s", thickness: 12 },
  };
  const title = `Bytes ${metric} by process (${MODULES[map.module] ?? map.module})`;
  const layout = { yaxis: { type: "category", title: { text: "process" } }, height: Math.min(700, 200 + 14 * y.length) };
  return { made: chart(`darshan-heat-${place}-${metric}`, title, null, { time: dated, x: dated ? "" : "s", layout }), traces: [trace] };
}
