// Which page an address means, the frame around all of them, and moving from one to the next without loading anew.

import { sweep } from "./charts.js";
import { source as chosen, takeToken, Failure } from "./data.js";
import { fill, h, joined, panels } from "./dom.js";
import { hide, hints } from "./tip.js";

const PAGES = {
  studies: () => import("./pages/studies.js"),
  study: () => import("./pages/study.js"),
  workflow: () => import("./pages/workflow.js"),
  job: () => import("./pages/job.js"),
  transfers: () => import("./pages/transfers.js"),
  anomalies: () => import("./pages/anomalies.js"),
  repository: () => import("./pages/repository.js"),
};
const SHAPES = [
  ["studies", []],
  ["studies", ["studies"]],
  ["anomalies", ["anomalies"]],
  ["repository", ["repository"]],
  ["study", ["studies", ":study"]],
  ["workflow", ["studies", ":study", "workflows", ":workflow"]],
  ["transfers", ["studies", ":study", "workflows", ":workflow", "transfers"]],
  ["job", ["studies", ":study", "workflows", ":workflow", "jobs", ":job"]],
];
const NAMED = new Set(["transfers", "anomalies", "repository"]); // pages that their address names
const SORRY = { 0: "The server does not answer", 401: "This dashboard asks for a token", 404: "There is no such page" };
const SETTLED = 300; // [ms] without scrolling until it is noted how far down the page is
const THEMES = { auto: "◐ as the system", light: "☀ light", dark: "☾ dark" };

takeToken();
const source = chosen();
const main = document.getElementById("main");
let stop = null;
let visit = 0;
let noting = null;

/** Show the page of the address, as far down as it was when it was left. */
async function show() {
  const number = (visit += 1);
  leave();
  source.begin();
  const place = placed(parts());
  crumbs(place);
  tell("");
  const view = h("div", { class: `page ${place.page}` }, h("p", { class: "waiting-for" }, "reading …"));
  fill(main, view);
  try {
    const { show: draw } = await PAGES[place.page]().catch(unread);
    const ended = await draw(view, place, source);
    if (number === visit) stop = ended ?? null;
    else ended?.();
  } catch (problem) {
    if (number === visit) fill(main, sorry(problem));
    if (!(problem instanceof Failure)) throw problem;
  }
  if (number !== visit) return;
  main.dataset.ready = place.page;
  scrollTo(0, history.state?.scroll ?? 0);
}

/** End the page that is shown. */
function leave() {
  clearTimeout(noting);
  delete main.dataset.ready;
  hide();
  stop?.();
  stop = null;
  fill(main);
  sweep();
  for (const name of Object.keys(panels)) delete panels[name];
}

/** Note how far down the page is, for whoever comes back to it. */
function scrolled() {
  clearTimeout(noting);
  noting = setTimeout(() => main.dataset.ready && history.replaceState({ ...history.state, scroll: scrollY }, ""), SETTLED);
}

function unread() {
  throw new Failure("a part of the pages cannot be read: is `panorama serve` still running?");
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
  if (NAMED.has(page)) links.push(h("span", {}, page));
  fill(document.getElementById("path"), ...joined(links, " › "));
  document.title = [job ?? (NAMED.has(page) ? page : null), workflow?.slice(0, 8), study, "panorama"].filter(Boolean).join(" · ");
}

function sorry(problem) {
  const title = SORRY[problem.status] ?? "This page cannot be shown";
  const again = source.live && h("button", { type: "button", on: { click: show } }, "try again");
  return h("div", { class: "sorry", role: "alert" }, h("h1", {}, title), h("p", {}, problem.message), h("div", { class: "bar" }, again, h("a", { href: source.link() }, source.live ? "all studies" : "where this report begins")));
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
function go(href) {
  if (!source.live) location.hash = href;
  else if (href !== location.href) history.pushState(null, "", href);
  if (source.live) move();
}

/** To another page, and the keyboard with it. */
async function move() {
  await show();
  main.focus({ preventScroll: true });
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
hints();
history.scrollRestoration = "manual";
addEventListener("scroll", scrolled, { passive: true });
document.addEventListener("click", follow);
document.addEventListener("panorama-live", ({ detail }) => tell(detail));
addEventListener("popstate", () => source.live && move());
addEventListener("pageshow", ({ persisted }) => persisted && show());
addEventListener("hashchange", () => source.live || move());
document.querySelector("a.brand").setAttribute("href", source.link());
document.querySelector("a.to-anomalies").setAttribute("href", source.link("anomalies"));
document.querySelector("a.to-repository").setAttribute("href", source.link("repository"));
document.querySelector("a.to-repository").hidden = !document.querySelector("meta[name=repository]");
document.querySelector("a.skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
await show();
