// What a study's server did about what it saw: what, why, how it ended, and how to take it back.

import { h, short } from "../dom.js";
import { state, time, value } from "../format.js";

const WHAT = { stop_evaluation: "evaluation ended early", retry_attempt: "attempt tried again elsewhere", avoid_host: "host avoided", set_running: "cores in use limited" };

/** Actions in a list; `place` has the study and the source of links. */
export function actionList(actions, source) {
  return h("ul", { class: "actions" }, actions.map((row) => line(row, source)));
}

function line({ study, action, eval_id: number, undo }, source) {
  return h("li", { "data-action": action.action_id },
    h("div", {}, h("strong", { "data-metric": "what", "data-value": action.what }, WHAT[action.what] ?? action.what), " ", state(action.state, "action"), h("span", { class: "note" }, " ", time(action.t, "t"))),
    h("div", { class: "said", "data-metric": "reason", "data-value": action.reason }, action.reason),
    of(study, action, number, source),
    action.message && h("div", { class: "note", "data-metric": "outcome", "data-value": action.message }, action.message),
    undo && h("div", { class: "note" }, "to take it back: ", h("code", { "data-metric": "undo", "data-value": undo, title: undo }, short(undo, 300))));
}

/** What it concerns. */
function of(study, action, number, source) {
  const run = (words) => (action.wf_uuid ? h("a", { href: source.link("studies", study, "workflows", action.wf_uuid) }, words) : words);
  const parts = [
    action.evaluation !== null && [run(["evaluation ", h("span", { "data-metric": "evaluation", "data-value": number ?? action.evaluation }, short(number ?? action.evaluation, 40))]), " "],
    action.job_id !== null && [h("a", { href: source.link("studies", study, "workflows", action.wf_uuid ?? "", "jobs", action.job_id), title: action.job_id }, short(action.job_id, 80)), action.attempt === null ? " " : ` attempt ${action.attempt} `],
    action.host !== null && ["host ", h("span", { class: "mono", "data-metric": "action host", "data-value": action.host, title: action.host }, short(action.host, 80)), " "],
    action.value !== null && [value("value", action.value), action.value === 1 ? " core" : " cores", action.before === null ? "" : [", before ", value("before", action.before)]],
  ].filter(Boolean);
  return parts.length ? h("div", { class: "note" }, parts) : null;
}
