// Which page an address means, the frame around all of them, and moving from one to the next without loading anew.

import { source as chosen, takeToken, Failure } from "./data.js";
import { fill, h, joined } from "./dom.js";

const PAGES = {
  studies: () => import("./pages/studies.js"),
  study: () => import("./pages/study.js"),
  workflow: () => import("./pages/workflow.js"),
  job: () => import("./pages/job.js"),
  transfers: () => import("./pages/transfers.js"),
};
const SHAPES = [
  ["studies", []],
  ["studies", ["studies"]],
  ["study", ["studies", ":study"]],
  ["workflow", ["studies", ":study", "workflows", ":workflow"]],
  ["transfers", ["studies", ":study", "workflows", ":workflow", "transfers"]],
  ["job", ["studies", ":study", "workflows", ":workflow", "jobs", ":job"]],
];
const THEMES = { auto: "◐ as the system", light: "☀ light", dark: "☾ dark" };

takeToken();
const source = chosen();
const main = document.getElementById("main");
let stop = null;
let visit = 0;

/** Show the page of the address. */
async function show() {
  const number = (visit += 1);
  stop?.();
  stop = null;
  delete main.dataset.ready;
  source.begin();
  const place = placed(parts());
  crumbs(place);
  tell("");
  const view = h("div", { class: `page ${place.page}` }, h("p", { class: "waiting-for" }, "reading …"));
  fill(main, view);
  try {
    const { show: draw } = await PAGES[place.page]();
    const ended = await draw(view, place, source);
    if (number === visit) stop = ended ?? null;
    else ended?.();
  } catch (problem) {
    if (number === visit) fill(main, sorry(problem));
    if (!(problem instanceof Failure)) throw problem;
  }
  if (number === visit) main.dataset.ready = place.page;
}

/** The parts of the address below the base, or behind the # of a report. */
function parts() {
  const path = source.live ? location.pathname.slice(new URL(document.baseURI).pathname.length) : location.hash.replace(/^#\/?/, "") || source.documents.start;
  return path.split("/").filter(Boolean).map(decoded);
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function placed(found) {
  for (const [page, shape] of SHAPES) {
    if (shape.length !== found.length || shape.some((word, i) => !word.startsWith(":") && word !== found[i])) continue;
    const named = shape.flatMap((word, i) => (word.startsWith(":") ? [[word.slice(1), found[i]]] : []));
    return { page, query: new URLSearchParams(location.search), ...Object.fromEntries(named) };
  }
  return { page: "studies", query: new URLSearchParams() };
}

function crumbs({ page, study, workflow, job }) {
  const links = [];
  if (study) links.push(h("a", { href: source.link("studies", study) }, study));
  if (workflow) links.push(h("a", { href: source.link("studies", study, "workflows", workflow), title: workflow }, workflow.slice(0, 8)));
  if (job) links.push(h("span", {}, job));
  if (page === "transfers") links.push(h("span", {}, "transfers"));
  fill(document.getElementById("path"), ...joined(links, " › "));
  document.title = [job ?? (page === "transfers" ? "transfers" : null), workflow?.slice(0, 8), study, "panorama"].filter(Boolean).join(" · ");
}

function sorry(problem) {
  return h("div", { class: "sorry", role: "alert" }, h("h1", {}, "No page"), h("p", {}, problem.message), h("p", {}, h("a", { href: source.link() }, source.live ? "all studies" : "where this report begins")));
}

/** Follow links of ours without loading the page anew. */
function follow(event) {
  const link = event.target.closest?.("a[href]");
  if (!link || !source.live || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const { href } = new URL(link.getAttribute("href"), document.baseURI); // of a drawing's link, `link.href` is no string
  if (link.hasAttribute("target") || link.hasAttribute("download") || !href.startsWith(document.baseURI) || link.getAttribute("href").startsWith("#")) return;
  if (href.startsWith(new URL("api/", document.baseURI).href)) return;
  event.preventDefault();
  go(href);
}

/** Go to an address of ours. */
export function go(href) {
  if (source.live) history.pushState(null, "", href);
  else location.hash = href;
  if (source.live) show().then(() => main.focus({ preventScroll: true }));
  scrollTo(0, 0);
}

function tell(status) {
  const place = document.getElementById("live");
  const said = { live: "● live", away: "○ connection lost, trying again", "": "" };
  place.className = status;
  fill(place, said[status] ?? "");
}

function theme() {
  const button = document.getElementById("theme");
  const set = (name) => {
    document.documentElement.dataset.theme = name;
    fill(button, THEMES[name]);
    button.title = "Colours: press to change";
    document.dispatchEvent(new CustomEvent("panorama-theme"));
  };
  const kept = () => (stored() in THEMES ? stored() : "auto");
  button.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    store(names[(names.indexOf(kept()) + 1) % names.length]);
    set(kept());
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => set(kept()));
  set(kept());
}

/** A viewer that gives a report no storage, as mail's do, leaves the choice to the page's lifetime. */
let choice = "";

function stored() {
  try {
    return localStorage.getItem("panorama-theme") ?? "";
  } catch {
    return choice;
  }
}

function store(name) {
  choice = name;
  try {
    localStorage.setItem("panorama-theme", name);
  } catch {
    // `choice` has it
  }
}

theme();
document.addEventListener("click", follow);
document.addEventListener("panorama-live", ({ detail }) => tell(detail));
addEventListener("popstate", () => source.live && show());
addEventListener("pageshow", ({ persisted }) => persisted && show());
addEventListener("hashchange", () => source.live || show());
document.querySelector("a.brand").setAttribute("href", source.link());
document.querySelector("a.skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
await show();
