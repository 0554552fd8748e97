// Places for the nodes of a DAG: level below level, few crossings, straight where it can be (Sugiyama, Tagawa and Toda, doi:10.1109/TSMC.1981.4308636).

const JOB = { least: 110, most: 280, abreast: 1100, h: 42, letter: 7, beside: 44 };
const CELL = { w: 22, h: 22 };
const GROUP = { w: 184, h: 54 };
const GAP = { x: 18, y: 48, cell: 4, inside: 10 };
const HEAD = 24;
const MOST_BOXES = 12;
const SWEEPS = 6;
const MOST_WAYPOINTS = 2000;

/**
 * Where everything stands: `nodes` and `frames` around opened groups as `{ item, x, y, w, h, cell }`, `links` as
 * `{ from, to, count, path }`, `levels` of nodes in their order, `width` and `height`.
 *
 * `made` is what `groups.items` gives, `opened` holds the keys of groups that show what is in them.
 */
export function layout(made, edges, opened) {
  const widths = widthsOfJobs(made.items);
  const boxes = made.items.map((item) => measured(item, opened, widths[item.level]));
  const owner = owners(made.items);
  const { layers, ways } = layered(made, boxes, edges, owner);
  ordered(layers);
  placed(layers);
  const height = stacked(layers);
  const drawn = { nodes: [], frames: [] };
  for (const box of boxes) settle(box, box.x, box.y, drawn, box);
  const width = Math.max(1, ...boxes.map((box) => box.x + box.w));
  return { ...drawn, links: linked(edges, drawn, ways, owner), levels: rows(drawn.nodes), width, height };
}

/** Of each level: as wide as its longest name, if there is room for that beside each other. */
function widthsOfJobs(items) {
  const widths = [];
  for (const { level } of items) widths[level] = (widths[level] ?? 0) + 1;
  const longest = ({ label, kind }) => Math.max(label.length, kind.length) * JOB.letter + JOB.beside;
  return widths.map((count, level) => {
    const wanted = Math.max(0, ...items.filter((item) => item.level === level && !item.children).map(longest));
    return Math.max(JOB.least, Math.min(wanted, JOB.most, JOB.abreast / count));
  });
}

/** Size of an item, and within an opened group the places of what is in it. */
function measured(item, opened, wide, cell = false) {
  if (!item.children) return { item, cell, ...(cell ? CELL : { w: wide, h: JOB.h }) };
  if (!opened.has(item.key)) return { item, ...GROUP };
  const small = item.children.filter((child) => !child.children).length > MOST_BOXES;
  const inner = item.children.map((child) => measured(child, opened, JOB.least, small));
  const gap = small ? GAP.cell : GAP.inside;
  const area = inner.reduce((sum, box) => sum + (box.w + gap) * (box.h + gap), 0);
  const widest = Math.max(GROUP.w, ...inner.map((box) => box.w), Math.sqrt(area * 3));
  return { item, inner, ...flowed(inner, widest, gap) };
}

function flowed(inner, widest, gap) {
  let [x, y, tall, wide, lines] = [0, 0, 0, 0, 1];
  for (const box of inner) {
    if (x && x + box.w > widest) [x, y, tall, lines] = [0, y + tall + gap, 0, lines + 1];
    Object.assign(box, { dx: x + GAP.inside, dy: y + HEAD });
    x += box.w + gap;
    tall = Math.max(tall, box.h);
    wide = Math.max(wide, x - gap);
  }
  return { w: Math.max(wide, GROUP.w) + 2 * GAP.inside, h: y + tall + HEAD + GAP.inside, block: lines > 1 };
}

/** Of each job the number of the item that it is part of. */
function owners(items) {
  const owner = [];
  items.forEach((item, i) => item.jobs.forEach((job) => (owner[job] = i)));
  return owner;
}

/** Boxes by level, with a waypoint on each level that a link passes by. */
function layered(made, boxes, edges, owner) {
  const layers = Array.from({ length: Math.max(0, ...made.items.map((item) => item.level)) + 1 }, () => []);
  for (const box of boxes) layers[box.item.level].push(Object.assign(box, { up: [], down: [] }));
  const pairs = new Map(edges.filter(([parent, child]) => owner[parent] !== owner[child]).map(([parent, child]) => [`${owner[parent]} ${owner[child]}`, [owner[parent], owner[child]]]));
  const ways = new Map();
  let waypoints = 0;
  for (const [key, [from, to]] of pairs) {
    const passed = layers.slice(boxes[from].item.level + 1, boxes[to].item.level);
    if ((waypoints += passed.length) > MOST_WAYPOINTS) passed.length = 0;
    const way = passed.map((layer) => layer[layer.push({ w: 6, h: 0, up: [], down: [] }) - 1]);
    ways.set(key, way);
    joined([boxes[from], ...way, boxes[to]]);
  }
  return { layers, ways };
}

function joined(chain) {
  for (let i = 1; i < chain.length; i += 1) {
    chain[i - 1].down.push(chain[i]);
    chain[i].up.push(chain[i - 1]);
  }
}

function ordered(layers) {
  for (const layer of layers) number(layer);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const down = sweep % 2 === 0;
    for (const layer of down ? layers : [...layers].reverse()) {
      for (const box of layer) box.middle = mean(down ? box.up : box.down, (other) => other.place) ?? box.place;
      number(layer.sort((a, b) => a.middle - b.middle));
    }
  }
}

function number(layer) {
  layer.forEach((box, i) => (box.place = (i + 0.5) / layer.length));
}

function mean(some, of) {
  return some.length ? some.reduce((sum, one) => sum + of(one), 0) / some.length : null;
}

/** From left to right without overlap, each as near as can be to the middle of its neighbours. */
function placed(layers) {
  for (const layer of layers) spread(layer, layer.map(() => 0));
  for (let sweep = 0; sweep < 2 * SWEEPS; sweep += 1) {
    const down = sweep % 2 === 0;
    for (const layer of down ? layers : [...layers].reverse()) {
      spread(layer, layer.map((box) => mean(down ? box.up : box.down, centre) ?? centre(box)));
    }
  }
  const left = Math.min(...layers.flat().map((box) => box.x));
  for (const box of layers.flat()) box.x -= left;
}

function centre(box) {
  return box.x + box.w / 2;
}

/** The mean of what pushing right and pushing left give: neither overlaps, so their mean does not. */
function spread(layer, wanted) {
  const right = [];
  const left = [];
  for (let i = 0; i < layer.length; i += 1) {
    const least = i ? right[i - 1] + layer[i - 1].w + GAP.x : -Infinity;
    right[i] = Math.max(wanted[i] - layer[i].w / 2, least);
  }
  for (let i = layer.length - 1; i >= 0; i -= 1) {
    const most = i < layer.length - 1 ? left[i + 1] - layer[i].w - GAP.x : Infinity;
    left[i] = Math.min(wanted[i] - layer[i].w / 2, most);
  }
  layer.forEach((box, i) => (box.x = (right[i] + left[i]) / 2));
}

function stacked(layers) {
  let y = 0;
  for (const layer of layers) {
    const tall = Math.max(0, ...layer.map((box) => box.h));
    for (const box of layer) {
      if (!box.item) box.h = tall;
      Object.assign(box, { y: y + (tall - box.h) / 2, roof: y, floor: y + tall });
    }
    y += tall + GAP.y;
  }
  return Math.max(1, y - GAP.y);
}

/** Places within opened groups; links go to the outermost frame that has more than one line. */
function settle(box, x, y, drawn, top, end = null) {
  Object.assign(box, { x, y, top, end });
  if (!box.inner) return drawn.nodes.push(box);
  drawn.frames.push(box);
  for (const inner of box.inner) settle(inner, x + inner.dx, y + inner.dy, drawn, top, end ?? (box.block ? box : null));
}

function linked(edges, { nodes }, ways, owner) {
  const ends = [];
  for (const node of nodes) for (const job of node.item.jobs) ends[job] = node.end ?? node;
  const links = new Map();
  for (const [parent, child] of edges) {
    const [from, to] = [ends[parent], ends[child]];
    const key = `${from.item.key}\n${to.item.key}`;
    if (!links.has(key)) links.set(key, { from, to, count: 0, path: path(from, ways.get(`${owner[parent]} ${owner[child]}`) ?? [], to) });
    links.get(key).count += 1;
  }
  return [...links.values()];
}

/** A smooth line from one box over waypoints to another: straight down past the boxes of a level, bent between two levels. */
function path(from, way, to) {
  let [x, y] = [centre(from), from.y + from.h];
  let told = `M${round(x)} ${round(y)}`;
  const down = (floor) => {
    if (floor > y) told += `V${round((y = floor))}`;
  };
  const bend = (nx, ny) => {
    const half = round((y + ny) / 2);
    told += `C${round(x)} ${half} ${round(nx)} ${half} ${round(nx)} ${round(ny)}`;
    [x, y] = [nx, ny];
  };
  down(from.top.floor);
  for (const point of way) {
    bend(centre(point), point.y);
    down(point.y + point.h);
  }
  bend(centre(to), to.top.roof);
  down(to.y);
  return told;
}

function round(number) {
  return Math.round(number * 10) / 10;
}

function rows(nodes) {
  const levels = [];
  for (const node of nodes) (levels[node.item.level] ??= []).push(node);
  for (const level of levels) level?.sort((a, b) => a.top.x - b.top.x);
  return levels.map((level) => level ?? []);
}
