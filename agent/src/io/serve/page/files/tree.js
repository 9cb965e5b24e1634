// The objects of a sync as a tree: namespaces, and the objects in them. Only the rows in view are elements, so that ten thousand
// objects scroll. The tree has the focus, and says which row is active.

import { el, icon } from "./dom.js";
import { counts, nameOf, ofObject, urgencyOfObject } from "./words.js";

const ROW = 30;
const SPARE = 8;
const OF_CLUSTER = "The cluster";

export class Tree {
  constructor(choose) {
    this.choose = choose;
    this.closed = new Set();
    this.groups = [];
    this.rows = [];
    this.active = 0;
    this.pool = [];
    this.typed = "";
    this.words = el("input", { type: "search", id: "filter-objects", placeholder: "kind, name or namespace" });
    this.bad = el("input", { type: "checkbox", id: "only-bad" });
    this.words.addEventListener("input", () => this.arrange());
    this.bad.addEventListener("change", () => this.arrange());
    this.found = el("span", { class: "note", role: "status" });
    this.tools = el("p", { class: "search" }, el("label", { for: "filter-objects", text: "Find" }), this.words,
      el("label", { class: "check" }, this.bad, "only those that are not current"), this.found);
    this.space = el("div", { class: "space", role: "presentation" });
    this.element = el("div", { class: "tree", role: "tree", tabindex: "0", "aria-label": "Objects by namespace" }, this.space);
    this.element.addEventListener("scroll", () => this.drawSoon(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("click", (event) => this.click(event));
    new ResizeObserver(() => this.drawSoon()).observe(this.element);
  }

  show(objects) {
    const groups = new Map();
    for (const object of objects) {
      const of = object.kind === "Namespace" && !object.group ? object.name : object.namespace ?? "";
      if (!groups.has(of)) groups.set(of, []);
      groups.get(of).push(object);
    }
    this.groups = [...groups].sort(([one], [other]) => one.localeCompare(other));
    for (const [, of] of this.groups) of.sort((one, other) => urgencyOfObject(one.state) - urgencyOfObject(other.state));
    this.byName = new Map(objects.map((object) => [nameOf(object), object]));
    this.arrange();
  }

  find(object) {
    return this.byName?.get(nameOf(object));
  }

  // The rows of what is open and found. The active row stays with its object.
  arrange() {
    const before = this.rows[this.active];
    const words = this.words.value.toLowerCase();
    const fits = (object) => (!this.bad.checked || object.state !== "Current") && (!words || nameOf(object).toLowerCase().includes(words));
    this.rows = [];
    let found = 0;
    const shown = this.groups.map(([name, objects]) => [name, objects.filter(fits)]).filter(([, objects]) => objects.length > 0);
    shown.forEach(([name, objects], at) => {
      const open = !this.closed.has(name);
      found += objects.length;
      this.rows.push({ key: `/${name}`, level: 1, name, objects, open, at: at + 1, of: shown.length });
      if (open) objects.forEach((object, at) => this.rows.push({ key: nameOf(object), level: 2, object, group: name, at: at + 1, of: objects.length }));
    });
    const same = before ? this.rows.findIndex((row) => row.key === before.key) : -1;
    this.active = same >= 0 ? same : Math.min(this.active, Math.max(0, this.rows.length - 1));
    const all = this.groups.reduce((sum, [, objects]) => sum + objects.length, 0);
    this.found.textContent = found < all ? `${found} of ${all}` : "";
    this.space.style.height = `${this.rows.length * ROW}px`;
    this.element.classList.toggle("empty", this.rows.length === 0);
    this.draw();
  }

  drawSoon() {
    this.waiting ??= requestAnimationFrame(() => { this.waiting = undefined; this.draw(); });
  }

  draw() {
    const first = Math.max(0, Math.floor(this.element.scrollTop / ROW) - SPARE);
    const end = Math.min(this.rows.length, Math.ceil((this.element.scrollTop + this.element.clientHeight) / ROW) + SPARE);
    // The active row is an element wherever it is, because the tree names it.
    const wanted = new Set(this.rows.length > 0 ? [this.active] : []);
    for (let index = first; index < end; index += 1) wanted.add(index);
    const elements = [...wanted].sort((one, other) => one - other).map((index) => this.row(index));
    this.space.replaceChildren(...elements);
    if (this.rows.length > 0) this.element.setAttribute("aria-activedescendant", `row-${this.active}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  row(index) {
    const row = this.rows[index];
    const active = index === this.active;
    const common = { id: `row-${index}`, role: "treeitem", "data-row": index, "aria-level": row.level, "aria-posinset": row.at,
      "aria-setsize": row.of, "aria-selected": String(active) };
    const element = row.object ? this.leaf(row, common) : this.group(row, common);
    element.style.transform = `translateY(${index * ROW}px)`;
    return element;
  }

  group(row, common) {
    const states = {};
    for (const { state } of row.objects) states[state] = (states[state] ?? 0) + 1;
    return el("div", { ...common, class: "row group", "aria-expanded": String(row.open) }, icon(row.open ? "open" : "closed"),
      el("span", { class: "name", text: row.name || OF_CLUSTER }), el("span", { class: "state" }, ...counts(states)));
  }

  leaf({ object }, common) {
    const [word, shape, tone] = ofObject(object.state);
    const why = object.waits ? `for ${object.waits}` : object.error?.message ?? object.message ?? "";
    const kind = object.kind.toLowerCase() + (object.group ? `.${object.group}` : "");
    return el("div", { ...common, class: `row leaf ${tone}` }, icon(shape),
      el("span", { class: "name" }, el("span", { class: "of-kind", text: `${kind}/` }), object.name),
      el("span", { class: "state" }, el("span", { class: `word ${tone}`, text: word }), why && el("span", { class: "because", text: why, title: why })));
  }

  move(to) {
    this.active = Math.max(0, Math.min(to, this.rows.length - 1));
    const [top, height] = [this.active * ROW, this.element.clientHeight];
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    if (top + ROW > this.element.scrollTop + height) this.element.scrollTop = top + ROW - height;
    this.draw();
    const row = this.rows[this.active];
    if (row?.object) this.choose(row.object);
  }

  toggle(row, open) {
    if (open) this.closed.delete(row.name);
    else this.closed.add(row.name);
    this.arrange();
  }

  click(event) {
    const index = Number(event.target.closest("[data-row]")?.dataset.row ?? NaN);
    const row = this.rows[index];
    if (!row) return;
    this.move(index);
    if (!row.object) this.toggle(row, !row.open);
  }

  key(event) {
    const row = this.rows[this.active];
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / ROW) - 1);
    const to = { ArrowDown: this.active + 1, ArrowUp: this.active - 1, Home: 0, End: this.rows.length - 1,
      PageDown: this.active + page, PageUp: this.active - page }[event.key];
    if (to !== undefined) this.move(to);
    else if (event.key === "ArrowRight" && !row.object) row.open ? this.move(this.active + 1) : this.toggle(row, true);
    else if (event.key === "ArrowLeft" && !row.object) this.toggle(row, false);
    else if (event.key === "ArrowLeft") this.move(this.rows.findIndex((other) => !other.object && other.name === row.group));
    else if (["Enter", " "].includes(event.key)) row.object ? this.choose(row.object) : this.toggle(row, !row.open);
    else if (event.key.length === 1) this.type(event.key.toLowerCase());
    else return;
    event.preventDefault();
  }

  // The next row whose name begins with what is typed.
  type(letter) {
    clearTimeout(this.forget);
    this.forget = setTimeout(() => { this.typed = ""; }, 700);
    this.typed += letter;
    const nameOfRow = (row) => (row.object ? row.object.name : row.name).toLowerCase();
    const from = this.typed.length === 1 ? this.active + 1 : this.active;
    const order = [...this.rows.keys()].slice(from).concat([...this.rows.keys()].slice(0, from));
    const found = order.find((index) => nameOfRow(this.rows[index]).startsWith(this.typed));
    if (found !== undefined) this.move(found);
  }
}
