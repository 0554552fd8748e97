// Fewer points than there are, with those at the edges kept.

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
