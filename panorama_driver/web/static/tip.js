// A few words beside what the pointer or the keyboard is on.

import { fill, h } from "./dom.js";

/** Words that hang over `host`: `show(mark, ...children)` beside an element in it, or at a point `{ x, y }` of the window; `hide()`. */
export function tip(host) {
  const box = h("div", { class: "tip", role: "tooltip", hidden: true });
  host.append(box);
  return {
    show(mark, ...children) {
      fill(box, ...children);
      box.hidden = false;
      place(box, host.getBoundingClientRect(), mark.getBoundingClientRect?.() ?? { left: mark.x, right: mark.x, top: mark.y, bottom: mark.y });
    },
    hide() {
      box.hidden = true;
    },
  };
}

/** Below the mark, or above it where there is no room; never beside the host. */
function place(box, host, mark) {
  const [wide, tall] = [box.offsetWidth, box.offsetHeight];
  const left = Math.max(4, Math.min(mark.left - host.left, host.width - wide - 4));
  const below = mark.bottom - host.top + 6;
  const above = mark.top - host.top - tall - 6;
  const fits = mark.bottom + tall + 6 < innerHeight || mark.top - tall - 6 < 0;
  box.style.left = `${left}px`;
  box.style.top = `${fits ? below : above}px`;
}
