// What happened, the newest first: commits, repairs with their diffs, errors.

import { el, icon, replace } from "./dom.js";
import { clock, linkOf, nameOf, plural, short, time, titleOfId } from "./words.js";

const HOUR = 3600;
// Entries that are shown until more are asked for, and lines of a diff that is shown without being opened.
const STEP = 40;
const OPEN = 14;

const SORTS = { all: "All", repair: "Put back", commit: "Commits", error: "Errors" };

// The timeline of all syncs, or of one.
export class Timeline {
  constructor(ofOne) {
    this.ofOne = ofOne;
    this.sort = "all";
    this.most = STEP;
    this.entries = [];
    this.summary = el("p", { class: "lead", id: "put-back" });
    this.known = el("p", { class: "note" });
    this.filter = el("div", { class: "filter", role: "group", "aria-label": "Show in the timeline" });
    this.list = el("ol", { class: "timeline" });
    this.more = el("p");
    this.element = el("section", { class: "happened" }, el("h2", { text: "Put back in the last hour" }), this.summary, this.known,
      el("h2", { text: "Timeline" }), this.filter, this.list, this.more);
    for (const [sort, word] of Object.entries(SORTS)) {
      this.filter.append(el("button", { type: "button", text: word, "data-sort": sort, click: () => this.choose(sort) }));
    }
  }

  choose(sort) {
    [this.sort, this.most] = [sort, STEP];
    this.draw();
  }

  show({ entries, since }) {
    this.entries = entries;
    this.since = since;
    this.draw();
  }

  draw() {
    for (const button of this.filter.children) button.setAttribute("aria-pressed", String(button.dataset.sort === this.sort));
    replace(this.summary, ...this.putBack());
    const chosen = this.entries.filter((entry) => this.sort === "all" || entry.type === this.sort);
    replace(this.list, chosen.slice(0, this.most).map((entry) => this.entry(entry)));
    const left = chosen.length - this.most;
    const show = () => { this.most += 200; this.draw(); };
    replace(this.more, left > 0 && el("button", { type: "button", id: "more", text: `Show older entries (${left})`, click: show }),
      chosen.length === 0 && "Nothing yet.");
  }

  // Who changed what was put back, in one sentence.
  putBack() {
    const since = Date.now() / 1000 - HOUR;
    const by = new Map();
    let times = 0;
    for (const entry of this.entries) {
      if (entry.type !== "repair" || entry.at < since) continue;
      times += entry.times;
      const who = author(entry);
      by.set(who, (by.get(who) ?? 0) + entry.times);
    }
    replace(this.known, ...(this.since > since ? ["Differences are known since this agent began, ", time(this.since), "."] : []));
    if (times === 0) return ["Nothing was put back."];
    const parts = [...by].sort((one, other) => other[1] - one[1]).map(([who, number]) => `${who} (${number})`);
    return [`${plural(times, "change")} put back, by: `, el("strong", { text: parts.join(", ") })];
  }

  entry(entry) {
    const [shape, tone, word, ...text] = TELL[entry.type](entry);
    const sync = !this.ofOne && el("a", { href: linkOf(entry.sync), text: titleOfId(entry.sync) });
    return el("li", { class: `entry ${tone}` }, icon(shape),
      el("div", { class: "what" },
        el("p", { class: "head" }, el("strong", { class: "word", text: word }), " ", sync, " ",
          el("span", { class: "when" }, `${clock(entry.at)} · `, time(entry.at))),
        ...text));
  }
}

const author = (entry) => entry.by ?? (entry.deleted ? "unknown clients, which deleted objects" : "unknown clients");

// Drawing, tone, word and text of each sort of entry.
const TELL = {
  repair(entry) {
    const fields = entry.fields.flatMap((field, at) => [at > 0 ? ", " : "", el("code", { text: field })]);
    const change = entry.deleted ? ["; it was made again"] : fields.length > 0 ? [": ", ...fields] : [": the owner of its fields"];
    const again = entry.times > 1 ? ` (${entry.times} times)` : "";
    const who = [el("strong", { text: entry.by ?? "An unknown client" }), entry.deleted ? " deleted " : " changed "];
    return ["back", "back", "Put back",
      el("p", {}, ...who, el("code", { text: nameOf(entry.object) }), ...change, again),
      diff(entry.diff, `diff-${entry.at}-${nameOf(entry.object)}`)];
  },
  commit(entry) {
    const numbers = ["added", "changed", "removed"].map((word, at) => entry.counts?.[at] && `${entry.counts[at]} ${word}`);
    const what = entry.counts ? numbers.filter(Boolean).join(", ") || "no object changed"
      : entry.objects ? plural(entry.objects, "object") + " declared" : "";
    const end = entry.synced ? [" · applied ", time(entry.synced)] : [" · not fully applied"];
    const changes = entry.first.map((change) => el("div", { class: "change" },
      el("p", {}, `${change.change} `, el("code", { text: nameOf(change.object) })),
      diff(change.diff, `diff-${entry.commit}-${nameOf(change.object)}`)));
    return ["commit", "commit", "Commit in force",
      el("p", {}, el("code", { text: short(entry.commit), title: entry.commit }), what && ` · ${what}`, ...end), ...changes];
  },
  error(entry) {
    const [shape, tone] = entry.code === "KNV2006" ? ["held", "warn"] : ["bad", "bad"];
    return [shape, tone, entry.code, el("p", { class: "message", text: entry.message })];
  },
};

const REASONS = {
  withheld: "The values of this object are shown nowhere.",
  toldByEvent: "An Event tells of it, from before this agent began. Every client that may make Events can write one.",
};

// A diff, opened if it is small.
function diff(of, id) {
  const lines = of?.lines?.split("\n").filter((line) => !line.startsWith("@@"));
  if (!lines) return REASONS[of] && el("p", { class: "note", text: REASONS[of] });
  if (lines.length === 0 || lines.join("") === "") return undefined;
  const sides = { "-": ["removed", "was: "], "+": ["added", "is: "] };
  const pre = el("pre", { class: "diff", tabindex: "0", role: "group", "aria-label": "Difference" }, lines.map((line) => {
    const [side] = sides[line[0]] ?? ["same"];
    return el("span", { class: side, text: `${line}\n` });
  }));
  return el("details", { id, open: lines.length <= OPEN }, el("summary", { text: "Difference" }), pre);
}
