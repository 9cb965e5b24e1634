// All syncs at a glance, the most urgent first.

import { el, icon, replace } from "./dom.js";
import { counts, linkOf, ofSync, plural, short, sign, time, titleOf, urgencyOfSync } from "./words.js";

// Syncs that are shown until more are asked for.
const STEP = 60;

export class Syncs {
  constructor() {
    this.most = STEP;
    this.syncs = [];
    this.verdict = el("h1", { class: "verdict", id: "verdict" });
    this.words = el("input", { type: "search", id: "filter-syncs", placeholder: "name, namespace or repository" });
    this.words.addEventListener("input", () => this.draw());
    this.search = el("p", { class: "search" }, el("label", { for: "filter-syncs", text: "Find a sync" }), this.words);
    this.list = el("ul", { class: "syncs" });
    this.more = el("p");
    this.element = el("section", { "aria-labelledby": "verdict" }, this.verdict, this.search, this.list, this.more);
  }

  show({ syncs, leads }) {
    this.syncs = [...syncs].sort((one, other) =>
      urgencyOfSync(one.state) - urgencyOfSync(other.state) || titleOf(one).localeCompare(titleOf(other)));
    this.leads = leads;
    this.draw();
  }

  draw() {
    replace(this.verdict, ...this.judge());
    this.search.hidden = this.syncs.length < 8;
    const words = this.words.value.toLowerCase();
    const found = this.syncs.filter((sync) => `${titleOf(sync)} ${sync.repo} ${sync.dir}`.toLowerCase().includes(words));
    replace(this.list, found.slice(0, this.most).map(card));
    const left = found.length - this.most;
    const show = () => { this.most += 500; this.draw(); };
    replace(this.more, left > 0 && el("button", { type: "button", id: "more-syncs", text: `Show the other ${left}`, click: show }));
  }

  judge() {
    if (!this.leads) return [icon("off"), "This agent stands by: another one serves the syncs"];
    const [bad, all] = [this.syncs.filter((sync) => urgencyOfSync(sync.state) < 4), this.syncs.length];
    if (all === 0) return [icon("unknown"), "There is no sync that you may see"];
    const busy = this.syncs.filter((sync) => ["Syncing", "Pending"].includes(sync.state)).length;
    if (bad.length > 0) {
      const others = all > 1 ? `; ${plural(all - 1, "other")} in sync or being applied` : "";
      if (bad.length === 1) return [icon(ofSync(bad[0].state)[1]), `${titleOf(bad[0])} ${IS[bad[0].state]}${others}`];
      const names = bad.slice(0, 3).map(titleOf).join(", ") + (bad.length > 3 ? " and others" : "");
      return [icon("bad"), `${bad.length} of ${plural(all, "sync")} need attention: ${names}`];
    }
    if (busy > 0) return [icon("busy"), `${busy} of ${plural(all, "sync")} being applied`];
    return [icon("ok"), all === 1 ? `${titleOf(this.syncs[0])} is in sync` : `All ${all} syncs are in sync`];
  }
}

// The verdict about one sync that needs attention.
const IS = {
  Error: "is broken",
  Stalled: "does not run",
  Held: "is held: it waits for an approval",
  Suspended: "is suspended by a user",
};

// One sync in the list.
function card(sync) {
  const words = ofSync(sync.state);
  const [first, ...others] = sync.errors;
  return el("li", { class: `card ${words[2]}` },
    el("div", { class: "title" },
      el("h2", {}, el("a", { id: `card-${sync.id}`, href: linkOf(sync.id), text: titleOf(sync) })), sign(words),
      el("span", { class: "kind", text: sync.kind })),
    el("p", { class: "source" }, source(sync)),
    el("p", { class: "commits" }, ...commits(sync)),
    sync.states && el("p", { class: "counts" }, ...inNumbers(sync.states)),
    first && errorBox(first),
    others.length > 0 && el("p", {}, el("a", { href: linkOf(sync.id), text: plural(sync.errorCount - 1, "more error") })));
}

// The objects of a sync in numbers.
export function inNumbers(states) {
  const all = Object.values(states).reduce((sum, number) => sum + number, 0);
  return all === 0 ? ["No objects"] : [`${plural(all, "object")}: `, ...counts(states)];
}

export const source = (sync) =>
  sync.repo ? `${sync.repo} @ ${sync.ref || "HEAD"}${sync.dir && sync.dir !== "." ? ` in ${sync.dir}` : ""}` : "No source was read yet";

// The commit in force, and the newest one if that is another.
export function commits(sync) {
  const code = (commit) => el("code", { text: short(commit), title: commit });
  if (!sync.commit) return ["No commit is in force"];
  const waits = sync.newest && sync.newest !== sync.commit;
  const since = sync.since ? [" since ", time(sync.since)] : [];
  return ["In force: ", code(sync.commit), ...since,
    ...(waits ? [" · newest: ", code(sync.newest), sync.state === "Syncing" ? "" : ", which is not in force"] : [])];
}

// An error with its code, its hint and its places.
export function errorBox(error) {
  return el("div", { class: "error" },
    el("p", { class: "message" }, el("strong", { text: error.code || "Error" }), ` ${error.message}`),
    error.hint && el("p", { class: "hint" }, el("strong", { text: "Hint: " }), error.hint),
    error.places?.length > 0 && el("p", { class: "places" }, "In ",
      error.places.flatMap((place, at) => [at > 0 && ", ", el("code", { text: place })])));
}
