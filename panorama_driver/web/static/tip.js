// A few words beside what the pointer or the keyboard is on: one box for all, on top of whatever would cut it off.

import { fill, h } from "./dom.js";

const ASKED = ".unknown, [data-hint]"; // what tells more when it is pointed at, touched or reached by keys
const GAP = 6; // [px]
const box = h("div", { class: "tip", role: "tooltip", hidden: true });
let at = null;

/** Show words beside an element, or at a point `{ x, y }` of the window. */
export function show(mark, ...children) {
  at = mark;
  fill(box, ...children);
  box.hidden = false;
  const main = document.getElementById("main");
  if (box.parentNode !== main) main.append(box);
  place();
}

/** Take them away. */
export function hide() {
  at = null;
  box.hidden = true;
}

/** Below the mark, or above it where there is no room; never out of sight. */
function place() {
  if (at?.isConnected === false) return hide();
  const mark = at.getBoundingClientRect?.() ?? { left: at.x, top: at.y, bottom: at.y };
  const [wide, tall] = [box.offsetWidth, box.offsetHeight];
  const fits = mark.bottom + tall + GAP < innerHeight || mark.top - tall - GAP < 0;
  box.style.left = `${Math.max(4, Math.min(mark.left, document.documentElement.clientWidth - wide - 4))}px`;
  box.style.top = `${fits ? mark.bottom + GAP : mark.top - tall - GAP}px`;
}

/** Tell why things are unknown and where numbers came from, wherever on the page they are. */
export function hints() {
  let own = null;
  const over = ({ target }) => {
    const mark = target.closest?.(ASKED);
    if (mark) show((own = mark), mark.dataset.unknown ?? mark.dataset.hint);
    else leave();
  };
  const leave = () => own && own === at && hide();
  document.addEventListener("pointerover", over);
  document.addEventListener("focusin", over);
  document.addEventListener("focusout", leave);
  document.addEventListener("pointerleave", leave);
  document.addEventListener("keydown", ({ key }) => key === "Escape" && leave());
  addEventListener("scroll", () => at && place(), { capture: true, passive: true });
}
