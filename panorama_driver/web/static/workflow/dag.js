// The DAG of a workflow: a node a job or a group of alike ones, which opens; told by colour, sign and word; by mouse, finger and keys.

import { fill, h, panels, svg } from "../dom.js";
import { groups, items } from "./groups.js";
import { layout } from "./layers.js";
import { MARGIN, frameShape, hintOf, legend, moved, nodeShape, told } from "./nodes.js";
import { hide, show } from "../tip.js";
import { Zoom } from "./zoom.js";

const MOST_WAYS = 60;
const ABOUT = "Jobs and what they wait for. Arrows go along the edges and levels, Enter opens a job or a group, Escape closes a group, + and - change the size, 0 fits it.";

/** The drawing of a DAG; `link(job_id)` gives the address of a job's page. */
export class Dag {
  constructor(link) {
    Object.assign(this, { link, opened: new Set(), key: null, current: null });
    this.links = svg("g", { transform: moved() });
    this.own = svg("g", { class: "own", transform: moved() });
    this.frames = svg("g");
    this.nodes = svg("g");
    this.drawing = svg("svg", { class: "dag", role: "group", "aria-label": ABOUT }, svg("defs", {}, arrow("dag-arrow"), arrow("dag-arrow-critical")), this.frames, this.links, this.own, this.nodes);
    this.view = h("div", { class: "dag-view", on: { keydown: (event) => this.pressed(event) } }, this.drawing);
    this.zoom = new Zoom(this.drawing, this.view);
    this.bar = h("div", { class: "bar" });
    this.element = h("div", { class: "drawing" }, this.bar, this.view, legend());
    this.listen();
  }

  /** Show these jobs; `critical` are those of the critical path, `anomalies` are marked on the jobs they are of. */
  update(jobs, edges, critical, anomalies = []) {
    Object.assign(this, { jobs, edges, critical: new Set(critical ?? []), found: new Map() });
    for (const row of anomalies) if (row.anomaly.job_id !== null) this.found.set(row.anomaly.job_id, [...(this.found.get(row.anomaly.job_id) ?? []), row]);
    const key = JSON.stringify([jobs.map((job) => [job.job_id, job.type, job.transformation]), edges]);
    if (key === this.key) this.tell();
    else {
      this.key = key;
      this.made = items(jobs, edges);
      this.tools();
      this.arrange();
    }
    this.publish();
  }

  /** Lay out and draw anew, with the focus where it was. */
  arrange() {
    const kept = this.nodes.contains(document.activeElement);
    this.plan = layout(this.made, this.edges, this.opened);
    this.drawn = new Map(this.plan.nodes.map((node) => [node.item.key, { node, shape: nodeShape(node, this.link) }]));
    this.holder = [];
    for (const node of this.plan.nodes) for (const job of node.item.jobs) this.holder[job] = node;
    fill(this.frames, ...this.plan.frames.map((frame) => frameShape(frame, () => this.zoom.dragged || this.toggle(frame.item.key))));
    fill(this.nodes, ...[...this.drawn.values()].map(({ shape }) => shape));
    fill(this.own);
    this.tell();
    this.zoom.size(this.plan.width + 2 * MARGIN, this.plan.height + 2 * MARGIN);
    this.reachable(this.drawn.has(this.current) ? this.current : this.plan.levels.find((level) => level.length)?.[0].item.key);
    if (kept) this.focus(this.current);
  }

  /** States as they are now. */
  tell() {
    for (const { node, shape } of this.drawn.values()) told(shape, node, this.of(node.item), this.criticalOf(node.item).length > 0, this.foundIn(node.item));
    this.mark();
  }

  of(item) {
    return item.jobs.map((job) => this.jobs[job]);
  }

  /** What was found in the jobs of a node. */
  foundIn(item) {
    return this.of(item).flatMap((job) => this.found.get(job.job_id) ?? []);
  }

  criticalOf(item) {
    return item.jobs.filter((job) => this.critical.has(this.jobs[job].job_id));
  }

  publish() {
    const states = {};
    for (const job of this.jobs) states[job.state] = (states[job.state] ?? 0) + 1;
    panels.dag = { nodes: this.jobs.length, edges: this.edges.length, groups: groups(this.made.items).length, drawn: this.plan.nodes.length, links: this.plan.links.length, levels: this.plan.levels.length, states, anomalies: Object.fromEntries([...this.found].map(([job, rows]) => [job, rows.map(({ anomaly }) => anomaly.kind)])) };
  }

  /** Edges between what is drawn, those of the critical path thick and on top. */
  mark() {
    const ways = this.plan.links.map((link) => ({ ...link, critical: this.isCritical(link) })).sort((a, b) => a.critical - b.critical);
    fill(this.links, ...ways.map(({ path, count, critical }) => svg("path", { class: critical ? "link critical" : "link", d: path, "data-edges": count, "marker-end": `url(#dag-arrow${critical ? "-critical" : ""})` })));
  }

  isCritical({ from, to }) {
    const below = new Set(this.criticalOf(to.item));
    return this.criticalOf(from.item).some((job) => this.made.around[job].children.some((child) => below.has(child)));
  }

  // --- what is chosen ---

  listen() {
    const at = (event) => this.drawn?.get(event.target.closest?.("[data-key]")?.dataset.key);
    this.nodes.addEventListener("pointerover", (event) => at(event) && this.hint(at(event)));
    this.nodes.addEventListener("pointerout", () => this.unhint());
    this.nodes.addEventListener("focusin", (event) => at(event) && this.entered(at(event)));
    this.nodes.addEventListener("focusout", () => this.unhint());
    this.nodes.addEventListener("click", (event) => this.clicked(event, at(event)));
  }

  entered(node) {
    this.reachable(node.node.item.key);
    if (node.shape.matches(":focus-visible")) this.hint(node);
  }

  hint({ node, shape }) {
    fill(this.own, ...(node.item.jobs.length > MOST_WAYS ? [] : this.ways(node).map((d) => svg("path", { d }))));
    show(shape, hintOf(node, this.of(node.item), this.foundIn(node.item)));
  }

  unhint() {
    fill(this.own);
    hide();
  }

  /** Straight ways to and from all neighbours of a node. */
  ways(node) {
    const straight = (from, to) => `M${from.x + from.w / 2} ${from.y + from.h}L${to.x + to.w / 2} ${to.y}`;
    const near = (way) => new Set(node.item.jobs.flatMap((job) => this.made.around[job][way].map((other) => this.holder[other])));
    return [...[...near("parents")].map((other) => straight(other, node)), ...[...near("children")].map((other) => straight(node, other))];
  }

  clicked(event, node) {
    if (this.zoom.dragged) return event.preventDefault();
    if (node?.node.item.children) this.toggle(node.node.item.key);
  }

  toggle(key) {
    const closing = this.opened.has(key);
    if (!this.opened.delete(key)) this.opened.add(key);
    const item = groups(this.made.items).find((group) => group.key === key);
    this.current = closing ? key : item.children[0].key;
    this.unhint();
    this.arrange();
    this.publish();
    this.focus(this.current);
  }

  /** The one node that the Tab key stops at. */
  reachable(key) {
    this.drawn.get(this.current)?.shape.setAttribute("tabindex", "-1");
    this.current = key;
    this.drawn.get(key)?.shape.setAttribute("tabindex", "0");
  }

  focus(key) {
    const found = this.drawn.get(key);
    if (!found) return;
    found.shape.focus({ preventScroll: true });
    this.zoom.reveal(found.shape);
  }

  pressed(event) {
    const found = this.drawn.get(this.current);
    if (!found || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      ArrowDown: () => this.along(found.node, "children"), ArrowUp: () => this.along(found.node, "parents"),
      ArrowRight: () => this.beside(found.node, 1), ArrowLeft: () => this.beside(found.node, -1),
      Home: () => this.focus(this.row(found.node)[0].item.key), End: () => this.focus(this.row(found.node).at(-1).item.key),
      Escape: () => this.leave(found.node), "+": () => this.zoom.larger(), "=": () => this.zoom.larger(), "-": () => this.zoom.smaller(), 0: () => this.zoom.fit(),
    }[event.key] ?? (found.node.item.children && (event.key === "Enter" || event.key === " ") ? () => this.toggle(found.node.item.key) : null);
    if (!act) return;
    event.preventDefault();
    act();
  }

  along(node, way) {
    const near = node.item.jobs.flatMap((job) => this.made.around[job][way].map((other) => this.holder[other]));
    const nearest = near.sort((a, b) => Math.abs(a.x + a.w / 2 - node.x - node.w / 2) - Math.abs(b.x + b.w / 2 - node.x - node.w / 2))[0];
    if (nearest) this.focus(nearest.item.key);
  }

  beside(node, step) {
    const row = this.row(node);
    this.focus(row[Math.max(0, Math.min(row.length - 1, row.indexOf(node) + step))].item.key);
  }

  row(node) {
    return this.plan.levels[node.item.level];
  }

  /** Close the innermost group that a node is in. */
  leave(node) {
    const around = this.plan.frames.filter((frame) => frame.item.jobs.includes(node.item.jobs[0]));
    if (around.length) this.toggle(around.at(-1).item.key);
  }

  tools() {
    const button = (text, title, act) => h("button", { type: "button", title, "aria-label": title, on: { click: act } }, text);
    const all = groups(this.made.items).map((group) => group.key);
    if (this.bar.childElementCount && Boolean(all.length) === this.grouped) return;
    this.grouped = all.length > 0;
    fill(this.bar, button("−", "Smaller", () => this.zoom.smaller()), button("+", "Larger", () => this.zoom.larger()), button("fit", "As wide as there is room", () => this.zoom.fit()),
      this.grouped && [button("group alike jobs", "Draw alike jobs as one", () => this.open([])), button("show every job", "Open all groups", () => this.open(groups(this.made.items).map((group) => group.key)))]);
  }

  open(keys) {
    this.opened = new Set(keys);
    this.arrange();
    this.publish();
  }
}

function arrow(id) {
  return svg("marker", { id, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" }, svg("path", { d: "M0 0L8 4L0 8Z" }));
}
