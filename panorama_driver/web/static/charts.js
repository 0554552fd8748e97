// Charts with axes of numbers: the one place that knows the chart library, which is fetched when first wanted.

import { fill, h, panel, panels, visible } from "./dom.js";
import { onAxis, utc } from "./format.js";

/** Okabe and Ito's colours, which colour-blind people can tell apart. */
export const PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#7F7F7F"];
/** And dashes, for those who see none of them. */
const THOUSAND = 1000; // [bytes] below which an axis has whole bytes
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];

/**
 * Nothing that is shown leaves the machine: the library's own set of buttons has one that uploads a chart. Without a
 * mouse the buttons would always be there, upon the legend.
 */
const CONFIG = {
  responsive: true, displaylogo: false, plotlyServerURL: "", displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
  modeBarButtons: [["toImage"], ["zoom2d", "pan2d", "select2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
};
const drawn = new Set();
let loading = null;

/** The chart library, fetched after what needs none has been painted. */
export function library() {
  loading ??= globalThis.Plotly ? Promise.resolve(globalThis.Plotly) : painted().then(fetched);
  return loading;
}

/**
 * A panel with a chart.
 *
 * `traces` are the chart library's, without colours; `time` tells that x is [s since 1970]; `bins` in one, the width of
 * its bins, draws it as steps that begin at x. `size` is the unit, `B` or `B/s`, of an axis of bytes. Gives the panel, with `update(traces)` to draw it anew. With no traces it
 * says `reason`, with null that they are being read. `update(traces, reason, spans)` shades spans of time as well:
 * { id, kind, since, found, to, words, quietly } in [s since 1970], with a line where each was found.
 */
export function chart(name, title, traces, { unit = "", x = "", size = "", time = false, layout = {}, reason = "", note = null, on = {} } = {}) {
  const place = h("div", { class: "chart", role: "img", "aria-label": title });
  const made = panel(name, title, note && h("p", { class: "note" }, note), place);
  const asked = { name, place, time, on, layout, x, unit, size, spans: [] };
  place.addEventListener("pointerdown", () => hold(asked));
  made.update = (now, why = reason, spans = []) => paint(Object.assign(asked, { spans }), now, why);
  made.painted = made.update(traces);
  return made;
}

async function paint(asked, traces, reason) {
  asked.traces = traces;
  if (!traces?.length) {
    drawn.delete(asked);
    delete panels[asked.name];
    if (globalThis.Plotly) globalThis.Plotly.purge(asked.place);
    asked.place.style.height = "";
    fill(asked.place, traces ? h("p", { class: "nothing" }, "unknown: ", reason || "there is nothing to draw") : h("p", { class: "waiting-for" }, "reading …"));
    return;
  }
  panels[asked.name] = asked.spans.length ? { traces, spans: asked.spans } : { traces };
  const Plotly = await library();
  await asked.held;
  if (asked.traces !== traces || !asked.place.isConnected) return;
  if (!drawn.has(asked)) fill(asked.place);
  const shape = layout(asked);
  asked.place.style.height = `${shape.height}px`; // which the library would forget when the window changes its size
  await Plotly.react(asked.place, styled(asked), shape, CONFIG);
  if (!drawn.has(asked)) for (const [event, handler] of Object.entries(asked.on)) asked.place.on(event, handler);
  drawn.add(asked);
  asked.place.dataset.drawn = "";
}

/** While somebody draws a box on a chart it is not drawn anew under the hand. */
function hold(asked) {
  asked.held = new Promise((resolve) => {
    const letGo = () => {
      for (const name of ["pointerup", "pointercancel"]) removeEventListener(name, letGo, true);
      setTimeout(resolve, 0); // the library hears of it after this
    };
    for (const name of ["pointerup", "pointercancel"]) addEventListener(name, letGo, true);
  });
}

/** Let go of the charts that are in the page no more. */
export function sweep() {
  for (const asked of drawn) {
    if (asked.place.isConnected) continue;
    drawn.delete(asked);
    globalThis.Plotly.purge(asked.place);
  }
}

/** What the chart library would read as its own markup is text here: names come from jobs. */
const TEXTS = ["name", "text", "hovertext", "customdata", "x", "y", "labels"];

function styled({ traces, time }) {
  return traces.map(stepped).map(harmless).map((trace, i) => {
    const color = trace.color ?? PALETTE[i % PALETTE.length];
    const moments = time ? { x: trace.x.map(onAxis), customdata: trace.x.map(utc), hovertemplate: trace.hovertemplate ?? "%{y}<br>%{customdata}<extra>%{fullData.name}</extra>" } : {};
    const line = { color, width: 1.5, dash: trace.stackgroup ? "solid" : DASHES[Math.floor(i / PALETTE.length) % DASHES.length], ...trace.line };
    return { ...trace, ...moments, line, marker: { color, ...trace.marker } };
  });
}

function harmless(trace) {
  return { ...trace, ...Object.fromEntries(TEXTS.filter((key) => key in trace).map((key) => [key, plain(trace[key])])) };
}

/** Words of a job as the chart library is to show them: it reads a few marks such as <b> in its texts. */
export function plain(told) {
  if (Array.isArray(told)) return told.map(plain);
  return typeof told === "string" ? visible(told).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;") : told;
}

/** The last step is as wide as the others. */
function stepped(trace) {
  if (!trace.bins || !trace.x.length) return trace;
  return { ...trace, x: [...trace.x, trace.x.at(-1) + trace.bins], y: [...trace.y, trace.y.at(-1)], line: { shape: "hv", ...trace.line } };
}

/** When something was not as it should be: shaded, with a line where it was found, and a word. */
function shaded(spans, color) {
  const across = { xref: "x", yref: "paper", y0: 0, y1: 1, layer: "below" };
  const fills = spans.map(({ since, to, quietly }) => ({ ...across, type: "rect", x0: onAxis(since), x1: onAxis(to), fillcolor: color, opacity: quietly ? 0.06 : 0.16, line: { width: 0 } }));
  const lines = spans.filter(({ found }) => found !== null).map(({ found }) => ({ ...across, type: "line", x0: onAxis(found), x1: onAxis(found), line: { color, width: 1.5, dash: "dot" } }));
  const words = spans.map(({ since, words: text }, i) => ({ x: onAxis(since), xref: "x", y: 1, yref: "paper", xanchor: "left", yanchor: "top", yshift: -13 * (i % 4), text: plain(text), showarrow: false, font: { color, size: 11 } }));
  return { shapes: [...fills, ...lines], annotations: words };
}

function layout({ layout: own, x, unit, size, time, traces, spans }) {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink").trim();
  const grid = style.getPropertyValue("--line").trim();
  const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true };
  return {
    height: 260,
    autosize: true,
    margin: { l: 56, r: 16, t: 12, b: 44 },
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    font: { color: ink, family: "system-ui, sans-serif", size: 12 },
    hoverlabel: { bgcolor: style.getPropertyValue("--paper").trim(), font: { color: ink } },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom" },
    ...shaded(spans, style.getPropertyValue("--anomaly").trim()),
    modebar: { bgcolor: "transparent", color: style.getPropertyValue("--soft").trim(), activecolor: ink },
    ...own,
    xaxis: { ...axis, title: { text: plain(x) }, ...(time ? { type: "date" } : {}), ...own.xaxis },
    yaxis: { ...axis, title: { text: plain(unit), standoff: 8 }, rangemode: "tozero", ...(size ? sizeAxis(traces, size) : {}), ...own.yaxis },
  };
}

/** An axis for bytes, or bytes a second: whole ones where there are few, and 0 alone where nothing was moved. */
function sizeAxis(traces, unit) {
  const most = traces.reduce((all, { y }) => y.reduce((high, amount) => Math.max(high, amount ?? 0), all), 0);
  if (!most) return { tickvals: [0], ticktext: [`0 ${unit}`], range: [-0.05, 1] };
  return most < THOUSAND ? { tickformat: ",d", ticksuffix: ` ${unit}`, ...(most < 8 ? { dtick: 1 } : {}) } : { tickformat: "~s", ticksuffix: unit };
}

document.addEventListener("panorama-theme", () => {
  sweep();
  for (const asked of drawn) globalThis.Plotly.relayout(asked.place, layout(asked));
});

function painted() {
  return new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 0)));
}

/** The library brings the styles of its maps with it, which nothing here uses and the policy forbids: they are left out. */
async function fetched() {
  const append = document.head.appendChild;
  document.head.appendChild = (node) => (node.tagName === "STYLE" && node.textContent ? node : append.call(document.head, node));
  try {
    await new Promise((resolve, reject) => {
      const version = document.querySelector("meta[name=plotly]")?.content ?? "";
      const script = h("script", { src: `static/plotly.min.js?v=${encodeURIComponent(version)}` });
      script.onload = resolve;
      script.onerror = () => reject(new Error("the chart library cannot be read from the server"));
      append.call(document.head, script);
    });
  } finally {
    delete document.head.appendChild;
  }
  return globalThis.Plotly;
}
