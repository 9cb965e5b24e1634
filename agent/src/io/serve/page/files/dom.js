// Elements. Every value of a cluster is a text node or an attribute that this file sets: none becomes markup.

// The namespace of SVG elements: a name, which nothing fetches.
const SVG = "http://www.w3.org/2000/svg";

// An element with attributes and children: elements, texts, or nothing.
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "click") element.addEventListener("click", value);
    else if (key === "text") element.textContent = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

// Drawings of 16 by 16, one shape for each meaning, so that colour is never the only sign.
const SHAPES = {
  ok: "M3 8.5l3.3 3.3L13 4.8",
  bad: "M4 4l8 8M12 4l-8 8",
  busy: "M8 2.5a5.5 5.5 0 1 0 5.5 5.5",
  wait: "M8 2.5a5.5 5.5 0 1 0 .01 0zM8 5v3.2l2.2 1.6",
  held: "M5.5 3.5v9M10.5 3.5v9",
  off: "M4 4h8v8H4z",
  gone: "M3 8h10",
  back: "M5.5 3L2.5 6l3 3M2.5 6H9a3.8 3.8 0 0 1 0 7.5H6",
  commit: "M1 8h4M11 8h4M8 5a3 3 0 1 0 .01 0z",
  other: "M3 8h9M8.5 4.5L12 8l-3.5 3.5",
  unknown: "M6 6a2 2 0 1 1 2.7 1.9c-.5.2-.7.6-.7 1.3M8 12v.3",
  open: "M4 6l4 4 4-4",
  closed: "M6 4l4 4-4 4",
};

// A drawing. The words beside it say what it means.
export function icon(shape) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of [["viewBox", "0 0 16 16"], ["aria-hidden", "true"], ["class", "icon"]]) svg.setAttribute(key, value);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", SHAPES[shape] ?? SHAPES.unknown);
  svg.append(path);
  return svg;
}

// Puts other children into an element. Focus and opened details stay where they were.
export function replace(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.id : "";
  const toggled = new Map([...element.querySelectorAll("details[id]")].map((details) => [details.id, details.open]));
  element.replaceChildren(...children.flat().filter(Boolean));
  for (const details of element.querySelectorAll("details[id]")) {
    if (toggled.has(details.id)) details.open = toggled.get(details.id);
  }
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

// A section with a heading.
export function section(title, ...children) {
  return el("section", {}, el("h2", { text: title }), ...children);
}
