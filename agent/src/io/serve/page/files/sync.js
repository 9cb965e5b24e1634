// One sync: its errors, what it would delete, its objects as a tree, and its timeline.

import { el, replace, section } from "./dom.js";
import { commits, errorBox, inNumbers, source } from "./syncs.js";
import { Timeline } from "./timeline.js";
import { Tree } from "./tree.js";
import { nameOf, ofObject, ofSync, plural, short, sign, time, titleOf, titleOfId } from "./words.js";

// Deletions that are shown until all are asked for.
const STEP = 200;

export class Sync {
  constructor(id) {
    this.id = id;
    this.head = el("div");
    this.errors = el("div");
    this.held = el("div");
    this.objects = el("p", { class: "counts" });
    this.tree = new Tree((object) => this.choose(object));
    this.details = el("aside", { class: "details", "aria-label": "The chosen object" });
    this.timeline = new Timeline(true);
    const note = el("p", { class: "note", text: "Arrow keys move, left and right close and open a namespace, letters find a name." });
    this.element = el("div", { class: "sync" }, el("p", {}, el("a", { href: "#/", text: "All syncs" })), this.head, this.errors, this.held,
      section("Objects", this.objects, this.tree.tools, el("div", { class: "split" }, this.tree.element, this.details), note),
      this.timeline.element);
    this.choose(undefined);
  }

  show(overview, objects, timeline) {
    const sync = overview.syncs.find((sync) => sync.id === this.id);
    if (!sync) {
      replace(this.head, el("h1", { text: titleOfId(this.id) }), el("p", { text: "There is no such sync, or you may not see it." }));
      return;
    }
    const words = ofSync(sync.state);
    replace(this.head, el("h1", {}, titleOf(sync), " ", sign(words)),
      el("p", { class: "source" }, `${sync.kind} · ${source(sync)}`), el("p", { class: "commits" }, ...commits(sync),
        sync.synced && sync.newest === sync.commit && [" · applied ", time(sync.synced)]));
    const errors = sync.errors.map(errorBox);
    replace(this.errors, errors.length > 0 && el("section", { class: `why ${words[2]}` },
      el("h2", { text: sync.state === "Held" ? "Why it waits" : "Why it is not in sync" }), errors));
    replace(this.held, objects?.held && this.deletions(objects.held));
    replace(this.objects, ...this.states(sync, objects));
    this.tree.show(objects?.objects ?? []);
    this.timeline.show({ ...timeline, entries: timeline.entries.filter((entry) => entry.sync === this.id) });
    this.draw();
  }

  states(sync, objects) {
    const why = objects?.partly ? "are not shown, because the page does not check so many rights at once; an account that may read all objects sees them" : "you may not see";
    const hidden = objects?.hidden ? ` ${objects.hidden} of them ${why}.` : "";
    if (!sync.states) return ["The sync does not run now, so its objects are not followed."];
    return [...inNumbers(sync.states), hidden];
  }

  // The objects that a held commit would delete.
  deletions(held) {
    const what = held.inForce ? `Commit ${short(held.commit)} is in force without its deletions.`
      : `Commit ${short(held.commit)} is held, and nothing of it is applied.`;
    const shown = held.objects.slice(0, this.all ? undefined : STEP);
    const left = held.objects.length - shown.length;
    const hidden = held.count - held.objects.length;
    const show = () => { this.all = true; replace(this.held, this.deletions(held)); };
    return el("section", { class: "held warn" },
      el("h2", { text: `If it is approved, ${plural(held.count, "object")} will be deleted` }), el("p", { text: what }),
      el("ul", { class: "deletions" }, shown.map((id) => el("li", {}, sign(["Delete ", "gone", "bad"]), el("code", { text: nameOf(id) })))),
      left > 0 && el("button", { type: "button", id: "all-deletions", text: `Show the other ${left}`, click: show }),
      hidden > 0 && el("p", { text: `${hidden} of them you may not see.` }));
  }

  choose(object) {
    this.chosen = object;
    this.draw();
  }

  draw() {
    const object = this.chosen && (this.tree.find(this.chosen) ?? this.chosen);
    if (!object) {
      replace(this.details, el("p", { class: "note", text: "Choose an object to see what it waits for, and what was put back." }));
      return;
    }
    const fact = (name, value) => value && [el("dt", { text: name }), el("dd", {}, value)];
    const name = nameOf(object);
    const repairs = this.timeline.entries.filter((entry) => entry.type === "repair" && nameOf(entry.object) === name);
    const last = repairs.slice(0, 3).map((entry) => el("p", {}, entry.deleted ? "it was deleted" : `${entry.by ?? "another client"} changed ${entry.fields.join(", ")}`, " · ", time(entry.at)));
    replace(this.details, el("h3", {}, el("code", { text: name })),
      el("dl", {}, fact("State", sign(ofObject(object.state))), fact("Because", object.message),
        fact("Waits for", object.waits && el("code", { text: object.waits })), fact("File", object.path && el("code", { text: object.path })),
        fact("Last changed by", object.commit && el("code", { text: object.commit })), fact("Put back", last.length > 0 && el("div", {}, last))),
      object.stale && el("p", { class: "note", text: "Changes of this kind are not known at present: this may be old." }),
      object.error && errorBox(object.error));
  }
}
