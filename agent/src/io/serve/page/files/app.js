// The page: which view is shown, and when its documents are read again.

import { follow, read, setToken, takeToken } from "./connection.js";
import { el, icon, replace } from "./dom.js";
import { Sync } from "./sync.js";
import { Syncs } from "./syncs.js";
import { Timeline } from "./timeline.js";
import { keepTimes, titleOfId } from "./words.js";

const main = document.getElementById("main");
const byId = (id) => document.getElementById(id);

// The list of all syncs with the timeline below.
class Overview {
  constructor() {
    this.syncs = new Syncs();
    this.timeline = new Timeline(false);
    this.element = el("div", { class: "overview" }, this.syncs.element, this.timeline.element);
  }

  show(overview, objects, timeline) {
    this.syncs.show(overview);
    this.timeline.show(timeline);
  }
}

const state = { view: undefined, sync: undefined, newest: 0, reading: false, again: false };

function route() {
  takeToken();
  const parts = location.hash.slice(1).split("/").filter(Boolean).map(decodeURIComponent);
  const sync = parts[0] === "sync" && parts.length === 4 ? parts.slice(1).join("/") : undefined;
  if (state.view && state.sync === sync) return;
  state.sync = sync;
  state.view = sync ? new Sync(sync) : new Overview();
  document.title = sync ? `${titleOfId(sync)} – nomos` : "nomos";
  replace(main, el("p", { class: "note", text: "Reading …" }));
  scrollTo(0, 0);
  refresh();
}

// Reads the documents of the view, once at a time.
async function refresh() {
  if (state.reading || document.hidden) {
    state.again = true;
    return;
  }
  [state.reading, state.again] = [true, false];
  const { view, sync } = state;
  try {
    const objects = sync ? read(`objects?sync=${encodeURIComponent(sync)}`).catch(orNothing) : undefined;
    const [overview, timeline, ofSync] = await Promise.all([read("overview"), read("timeline"), objects]);
    if (view === state.view) {
      about(overview);
      if (!main.contains(view.element)) replace(main, view.element);
      view.show(overview, ofSync, timeline);
    }
    if (overview.generation < state.newest) state.again = true;
  } catch (error) {
    if (error.status === 401) askForToken();
    else if (error.status) fail(error);
    else state.again = true;
  }
  state.reading = false;
  if (state.again || view !== state.view) setTimeout(refresh, 1000);
}

// A sync that went is told by the view.
function orNothing(error) {
  if (error.status === 404) return undefined;
  throw error;
}

function about({ cluster, viewer, version }) {
  byId("cluster").textContent = cluster ? `Cluster ${cluster}` : "";
  byId("viewer").textContent = viewer ? `seen as ${viewer}` : "";
  byId("viewer").title = `nomos-agent ${version}`;
}

function fail(error) {
  const busy = error.status === 429 || error.status === 503;
  const text = busy ? "The agent cannot answer now. This page tries again." : `This cannot be shown: ${error.message}.`;
  if (!main.contains(state.view.element)) replace(main, el("p", { class: "note", text }));
  state.again = busy;
}

// A view for those who came without a token, or with one that is not valid any more.
function askForToken() {
  const input = el("input", { type: "password", id: "token", autocomplete: "off" });
  const use = () => {
    setToken(input.value.trim());
    replace(main, el("p", { class: "note", text: "Reading …" }));
    refresh();
  };
  input.addEventListener("keydown", (event) => event.key === "Enter" && use());
  replace(main, el("section", { class: "token" }, el("h1", { text: "A token of the cluster is needed" }),
    el("p", {}, "What you see here is what your user may get. Run ", el("code", { text: "nomos ui" }), ", which opens this page with your token, or enter one."),
    el("p", { class: "search" }, el("label", { for: "token", text: "Token" }), input,
      el("button", { type: "button", text: "Show the syncs", click: use }))));
}

const CONNECTION = {
  live: ["ok", "Live"],
  lost: ["bad", "Not connected, trying again"],
  crowded: ["wait", "Many viewers: updated from time to time"],
  refused: ["held", "No valid token"],
};

function connection(name) {
  const [shape, text] = CONNECTION[name];
  const live = byId("live");
  if (live.dataset.state === name) return;
  live.dataset.state = name;
  replace(live, icon(shape), text);
}

function changed(generation) {
  // Not the largest one: an agent that takes over begins to count anew.
  state.newest = generation;
  refresh();
}

byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", route);
document.addEventListener("visibilitychange", () => { if (!document.hidden && state.again) refresh(); });
keepTimes();
route();
follow(changed, connection);
