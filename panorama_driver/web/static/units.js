// What is counted on a study's pages.

/** What stands for an evaluation: in a store without a study, a workflow run. */
export function unitOf({ kind }, number = 2) {
  return `${kind === "store" ? "workflow run" : "evaluation"}${number === 1 ? "" : "s"}`;
}
