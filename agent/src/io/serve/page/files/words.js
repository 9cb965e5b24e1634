// The words and signs for states and times.

import { el, icon } from "./dom.js";

// Word, drawing and tone of each state of a sync, the most urgent first.
const SYNCS = {
  Error: ["Broken", "bad", "bad"],
  Stalled: ["Does not run", "bad", "bad"],
  Held: ["Held: waits for an approval", "held", "warn"],
  Suspended: ["Suspended by a user", "off", "warn"],
  Syncing: ["Syncing", "busy", "busy"],
  Pending: ["Not read yet", "busy", "busy"],
  Synced: ["In sync", "ok", "ok"],
};

// The same of objects.
const OBJECTS = {
  Failed: ["Failed", "bad", "bad"],
  Late: ["Late", "wait", "bad"],
  Waiting: ["Waiting", "wait", "warn"],
  Elsewhere: ["Another sync's", "other", "warn"],
  Terminating: ["Terminating", "gone", "warn"],
  InProgress: ["In progress", "busy", "busy"],
  Unknown: ["Unknown", "unknown", "none"],
  Current: ["Current", "ok", "ok"],
};

const UNKNOWN = ["Unknown", "unknown", "none"];

export const ofSync = (state) => SYNCS[state] ?? UNKNOWN;
export const ofObject = (state) => OBJECTS[state] ?? UNKNOWN;
const rank = (words, state) => {
  const at = Object.keys(words).indexOf(state);
  return at < 0 ? Object.keys(words).length : at;
};
export const urgencyOfSync = (state) => rank(SYNCS, state);
export const urgencyOfObject = (state) => rank(OBJECTS, state);

// A drawing and its word in the colour of its tone.
export function sign([word, shape, tone], more = "") {
  return el("span", { class: `sign ${tone}` }, icon(shape), el("span", { text: word + more }));
}

// The number of objects in each state, the most urgent first.
export function counts(states) {
  const sorted = Object.entries(states).sort(([one], [other]) => urgencyOfObject(one) - urgencyOfObject(other));
  return sorted.map(([state, number]) => {
    const [word, shape, tone] = ofObject(state);
    return sign([`${number} ${word.toLowerCase()}`, shape, tone]);
  });
}

export const short = (commit) => (commit ?? "").slice(0, 7);
export const plural = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

// `deployment.apps/shop/web`, as kubectl and the agent write it.
export function nameOf(id) {
  const kind = id.kind.toLowerCase() + (id.group ? `.${id.group}` : "");
  return [kind, id.namespace, id.name].filter(Boolean).join("/");
}

// The name of a sync, as `nomos status` shows it: a RepoSync has its namespace before it.
export const titleOf = (sync) => (sync.kind === "RepoSync" ? `${sync.namespace}:${sync.name}` : sync.name);
export const titleOfId = (id) => {
  const [kind, namespace, name] = id.split("/");
  return titleOf({ kind, namespace, name });
};
export const linkOf = (id) => `#/sync/${id.split("/").map(encodeURIComponent).join("/")}`;

// How long ago a time in seconds is.
function ago(seconds) {
  const since = Math.max(0, Math.round(Date.now() / 1000 - seconds));
  if (since < 5) return "just now";
  if (since < 60) return `${since} s ago`;
  if (since < 3600) return `${Math.floor(since / 60)} min ago`;
  if (since < 86400) return `${Math.floor(since / 3600)} h ago`;
  return plural(Math.floor(since / 86400), "day") + " ago";
}

// A time: how long ago, and exactly in its title.
export function time(seconds) {
  const at = new Date(seconds * 1000);
  return el("time", { datetime: at.toISOString(), title: at.toLocaleString(), "data-at": seconds, text: ago(seconds) });
}

export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });

// Times grow old while nothing else changes.
export function keepTimes() {
  setInterval(() => {
    for (const element of document.querySelectorAll("time[data-at]")) {
      const text = ago(Number(element.dataset.at));
      if (element.textContent !== text) element.textContent = text;
    }
  }, 5000);
}
