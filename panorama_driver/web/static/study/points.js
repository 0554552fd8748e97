// Points of evaluations for the chart library: what they look like, and fewer of them than there are, with those at the edges kept.

import { short } from "./evaluations.js";

/** Points {row, x, y} as a trace: it says the number of each evaluation, and why it failed; `keys` tell which they are. */
export function dots(points) {
  return {
    type: "scatter", mode: "markers", x: points.map(({ x }) => x), y: points.map(({ y }) => y), keys: points.map(({ row }) => row.key),
    text: points.map(({ row }) => short(row.state === "stopped" ? `№ ${row.eval_id} ended early, at least` : row.failed ? `№ ${row.eval_id} failed: ${row.message || row.state}` : `№ ${row.eval_id}`, 120)),
    hovertemplate: "%{text}: %{x}, %{y}<extra></extra>",
  };
}

/** The colours of points, as the page has them now, light or dark. */
export function tones() {
  const style = getComputedStyle(document.documentElement);
  const tone = (name) => style.getPropertyValue(`--${name}`).trim();
  return { all: tone("running"), failed: tone("failed"), chosen: tone("stage-out"), edge: tone("ink"), best: tone("stage-in"), stopped: tone("anomaly") };
}

/** Which evaluation a click on the chart meant. */
export function clicked({ points: [{ data, pointNumber }] }) {
  return data.keys?.[pointNumber];
}

/** At most about `most` of the points {x, y}: in each of many spans the first, the least and the greatest. */
export function thinned(points, most) {
  if (points.length <= most) return points;
  const spans = Math.floor(most / 3);
  const kept = new Set();
  for (let span = 0; span < spans; span += 1) {
    const [from, to] = [span, span + 1].map((edge) => Math.floor((edge * points.length) / spans));
    for (const place of extremes(points, from, to)) kept.add(place);
  }
  for (const place of outermost(points)) kept.add(place);
  return [...kept].sort((a, b) => a - b).map((place) => points[place]);
}

function extremes(points, from, to) {
  let [least, greatest] = [from, from];
  for (let place = from; place < to; place += 1) {
    if (points[place].y < points[least].y) least = place;
    if (points[place].y > points[greatest].y) greatest = place;
  }
  return [from, least, greatest];
}

/** Those that are furthest out in x, which need not be in order. */
function outermost(points) {
  let [least, greatest] = [0, 0];
  points.forEach(({ x }, place) => {
    if (x < points[least].x) least = place;
    if (x > points[greatest].x) greatest = place;
  });
  return [least, greatest];
}
