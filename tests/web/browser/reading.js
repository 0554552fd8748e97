// What tests read out of a page; put in front of each script that the browser is given.

function within(node, kind) {
  return node.closest(`[data-${kind}]`)?.getAttribute(`data-${kind}`) ?? null;
}

/** Each place where a metric is shown, within what `scope` names: { job: "a", attempt: null, transfer: "*" }, `*` for any. */
function values(metric, scope) {
  const fits = (found, asked) => (asked === "*" ? found !== null : found === asked);
  return [...document.querySelectorAll("[data-metric]")]
    .filter((node) => node.dataset.metric === metric)
    .filter((node) => Object.entries(scope).every(([kind, name]) => fits(within(node, kind), name)))
    .map((node) => ({ value: node.dataset.value ?? null, unknown: node.dataset.unknown ?? null, text: node.textContent }));
}

/** What a panel draws, as data; null if it draws nothing. */
function panel(name) {
  const shown = globalThis.panorama?.panels?.[name];
  return shown ? JSON.stringify(shown, (key, value) => (ArrayBuffer.isView(value) ? [...value] : value)) : null;
}

/** Names of the panels that draw something. */
function charts() {
  return Object.keys(globalThis.panorama?.panels ?? {});
}

/** How many charts that can be seen are still waiting for their numbers, or to be drawn. */
function undrawn() {
  const waiting = (place) => place.textContent.includes("reading …") || (panel(within(place, "panel")) && !("drawn" in place.dataset));
  return [...document.querySelectorAll(".chart")].filter((place) => place.checkVisibility() && waiting(place)).length;
}

/** All that is text in the page, shown or on hover. */
function words() {
  const titles = [...document.querySelectorAll("#main [title]")].map((node) => node.title);
  return [document.getElementById("main").textContent, ...titles].join(" ");
}

/** What of a hostile name came to life in the page, or left it. */
function alive(mark) {
  const told = (nodes) => nodes.map((node) => node.outerHTML.slice(0, 200));
  const every = [...document.querySelectorAll("*")];
  const leads = (node) => ["href", "src", "action", "xlink:href"].map((name) => node.getAttribute(name)).filter(Boolean);
  const foreign = (href) => !["http:", "https:"].includes(new URL(href, document.baseURI).protocol) || new URL(href, document.baseURI).origin !== location.origin;
  const requests = performance.getEntriesByType("resource").map(({ name }) => name);
  return [
    ...(mark in globalThis ? [`window.${mark} is ${globalThis[mark]}`] : []),
    ...told(every.filter((node) => leads(node).some((href) => foreign(href) && !/^(data|blob):/.test(href)))),
    ...told(every.filter((node) => [...node.attributes].some(({ name }) => name.startsWith("on")))),
    ...told([...document.querySelectorAll("#main script, #main iframe, #main img, #main object, #main b, #main sup")]),
    ...told([...document.querySelectorAll("svg a")].filter((node) => /click me/.test(node.textContent))),
    ...requests.filter((name) => new URL(name).pathname.endsWith(mark)),
  ];
}

/** What makes the page wider than its window. */
function tooWide() {
  const width = document.documentElement.clientWidth;
  const whole = document.documentElement.scrollWidth;
  if (whole <= width) return [];
  const wide = [...document.querySelectorAll("body *")].filter((node) => node.getBoundingClientRect().right > width + 1);
  return [`${whole} > ${width}`, ...wide.slice(0, 5).map((node) => node.outerHTML.slice(0, 150))];
}

/** What has the focus. */
function focused() {
  const node = document.activeElement;
  const style = getComputedStyle(node);
  return {
    tag: node.tagName,
    href: node.getAttribute("href"),
    text: (node.innerText ?? "").slice(0, 60),
    label: node.getAttribute("aria-label"),
    metric: node.dataset?.metric ?? null,
    panel: within(node, "panel"),
    job: within(node, "job"),
    evaluation: within(node, "evaluation"),
    study: within(node, "study"),
    outlined: style.outlineStyle !== "none" || style.boxShadow !== "none",
  };
}
