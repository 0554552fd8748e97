// Reading again what a page shows, whenever it is told that something has moved.

import { Failure } from "./data.js";
import { fill, h } from "./dom.js";

const PAUSE = 1000; // [ms] between two readings

/** One reading at a time, and one more for all that was told meanwhile; what keeps it from going on stands in `trouble`. */
export class Again {
  constructor(read) {
    Object.assign(this, { read, wanted: false, busy: false, ended: false });
    this.trouble = h("p", { class: "problem", role: "alert" });
  }

  /** Read again, soon. */
  async ask() {
    this.wanted = true;
    if (this.busy) return;
    this.busy = true;
    try {
      while (this.wanted && !this.ended) {
        this.wanted = false;
        await this.once();
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
      }
    } finally {
      this.busy = false;
    }
  }

  async once() {
    try {
      await this.read();
      fill(this.trouble);
    } catch (problem) {
      if (!(problem instanceof Failure)) throw problem;
      fill(this.trouble, `Not up to date: ${problem.message}`);
    }
  }

  end() {
    this.ended = true;
  }
}
