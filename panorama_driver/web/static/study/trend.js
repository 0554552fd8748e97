// The objective against the evaluations in their order, with the best so far.

import { chart } from "../charts.js";
import { clicked, dots, thinned, tones } from "./points.js";
import { short, titled } from "./evaluations.js";
import { decadesApart } from "./scales.js";

const MOST = 2000;
const MOST_CHOSEN = 800;

/** The panel; `open(row)` goes to the workflow of a point. */
export function trend(evaluations, brush, open) {
  const { column } = evaluations.objective;
  const title = column ? `${short(column.name, 60)} and the best so far` : "Objective";
  const look = layout(evaluations);
  const made = chart("objective", title, traces(evaluations, brush), {
    unit: column ? titled(column) : "", x: "evaluation", reason: "no evaluation has been answered yet",
    layout: look, on: { plotly_click: (event) => open(evaluations.row(clicked(event))) },
  });
  const update = () => {
    Object.assign(look, layout(evaluations));
    return made.update(traces(evaluations, brush));
  };
  return { node: made, update };
}

function traces(evaluations, brush) {
  const { column, maximized } = evaluations.objective;
  if (!column) return [];
  const values = evaluations.values(column);
  const numbers = evaluations.values(evaluations.column("evaluation"));
  const answered = evaluations.rows.map((row, i) => ({ row, x: numbers[i], y: values[i] })).filter(({ y }) => typeof y === "number");
  const stopped = answered.filter(({ row }) => evaluations.bound(row, column));
  const whole = answered.filter(({ row }) => !evaluations.bound(row, column));
  const failed = evaluations.rows.map((row, i) => ({ row, x: numbers[i], y: 0 })).filter(({ row }) => row.failed);
  if (!answered.length && !failed.length) return [];
  const tone = tones();
  const points = thinned(whole, MOST);
  const chosen = brush.active ? thinned(answered.filter(({ row }) => brush.has(row.key)), MOST_CHOSEN) : [];
  return [
    { ...dots(points), name: "evaluation", metric: column.name, marker: { color: tone.all, size: 6, opacity: brush.active ? 0.25 : 0.8 } },
    { ...bestSoFar(whole, maximized), name: "best so far", metric: "best", mode: "lines", line: { color: tone.best, width: 2, shape: "hv" }, hovertemplate: "best so far: %{y}<extra></extra>" },
    chosen.length && { ...dots(chosen), name: "chosen", marker: { color: tone.chosen, size: 8, line: { width: 1, color: tone.edge } } },
    stopped.length && { ...dots(thinned(stopped, MOST)), name: `ended early, at least (${stopped.length})`, metric: "bound", marker: { color: tone.stopped, symbol: "triangle-up", size: 9 } },
    failed.length && { ...dots(thinned(failed, MOST)), name: `failed (${failed.length})`, yaxis: "y2", cliponaxis: false, marker: { color: tone.failed, symbol: "x", size: 8 }, hovertemplate: "%{text}<extra></extra>" },
  ].filter(Boolean);
}

function bestSoFar(points, maximized) {
  const better = maximized ? (a, b) => a > b : (a, b) => a < b;
  const x = [];
  const y = [];
  for (const point of points) {
    if (y.length && !better(point.y, y.at(-1))) continue;
    x.push(point.x);
    y.push(point.y);
  }
  if (y.length) {
    x.push(points.at(-1).x);
    y.push(y.at(-1));
  }
  return { type: "scatter", x, y };
}

function layout(evaluations) {
  const { column } = evaluations.objective;
  if (!column) return {};
  const few = evaluations.rows.length <= 12;
  return { hovermode: "closest", uirevision: "kept", height: 380, xaxis: few ? { title: { text: "evaluation" }, dtick: 1 } : { title: { text: "evaluation" } }, yaxis: { type: decadesApart(evaluations.values(column)) ? "log" : "linear", rangemode: "normal" }, yaxis2: { overlaying: "y", range: [0, 1], visible: false, fixedrange: true } };
}
