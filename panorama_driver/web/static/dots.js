// Points of evaluations for the chart library.

import { short } from "./evaluations.js";

/** Points {row, x, y} as a trace: it says the number of each evaluation, and why it failed; `keys` tell which they are. */
export function dots(points) {
  return {
    type: "scatter", mode: "markers", x: points.map(({ x }) => x), y: points.map(({ y }) => y), keys: points.map(({ row }) => row.key),
    text: points.map(({ row }) => short(row.failed ? `№ ${row.eval_id} failed: ${row.message || row.state}` : `№ ${row.eval_id}`, 120)),
    hovertemplate: "%{text}: %{x}, %{y}<extra></extra>",
  };
}

/** The colours of points, as the page has them now, light or dark. */
export function tones() {
  const style = getComputedStyle(document.documentElement);
  const tone = (name) => style.getPropertyValue(`--${name}`).trim();
  return { all: tone("running"), failed: tone("failed"), chosen: tone("stage-out"), edge: tone("ink"), best: tone("stage-in") };
}

/** Which evaluation a click on the chart meant. */
export function clicked({ points: [{ data, pointNumber }] }) {
  return data.keys?.[pointNumber];
}
