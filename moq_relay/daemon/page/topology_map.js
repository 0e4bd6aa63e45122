// The map: this relay in the middle, the others around it by region, and its links as lines.

import { brief, milliseconds, nodeName, short } from "/page/topology_text.js";

const SPACE = "http://www.w3.org/2000/svg";
const MIDDLE = [300, 202];
const RADII = [168, 132]; // of the ellipse that the nodes are on
const LABELS = [192, 156]; // of the one that the names of regions are on
const FEWEST = 2; // nodes whose room a region has at least
const GAP = 0.9; // between two regions, in the room of a node

export function draw(svg, picture, route) {
  const others = picture.nodes.filter((node) => node.node !== picture.self);
  const regions = group(others, picture.region);
  const links = new Map(picture.links.map((link) => [link.node, link]));
  const lines = [];
  const dots = [];
  const texts = [];
  const arcs = [];
  for (const region of spread(regions)) {
    arcs.push(shape("path", { class: "arc", d: arc(region.from, region.to) }));
    texts.push(...label(region, texts));
    region.nodes.forEach((node, index) => {
      const place = at(region.places[index], RADII);
      const link = links.get(node.node);
      if (link) lines.push(line(place, link, route.used === node.node));
      if (route.nodes.has(node.node)) dots.push(shape("circle", { class: "halo", cx: place[0], cy: place[1], r: 10 }));
      dots.push(dot(place, node, others.length));
    });
  }
  svg.setAttribute("viewBox", regions.length <= 2 ? "0 92 600 220" : "0 0 600 410");
  lines.sort((one, other) => one.rank - other.rank);
  const here = shape("circle", { class: "self", cx: MIDDLE[0], cy: MIDDLE[1], r: 9 });
  here.append(title("this relay"));
  const halo = route.nodes.has(picture.self) ? [shape("circle", { class: "halo", cx: MIDDLE[0], cy: MIDDLE[1], r: 14 })] : [];
  svg.replaceChildren(...arcs, ...lines.map((one) => one.shape), ...dots, ...halo, here, ...texts.map((one) => one.shape));
}

// Regions in the order of their names; this relay's own first, so that it is on top.
function group(nodes, own) {
  const found = new Map();
  for (const node of nodes) {
    if (!found.has(node.region)) found.set(node.region, { region: node.region, own: node.region === own, nodes: [] });
    found.get(node.region).nodes.push(node);
  }
  return [...found.values()].sort((one, other) => other.own - one.own || (one.region < other.region ? -1 : 1));
}

// Each gets its share of the circle, by its nodes.
function spread(regions) {
  const room = (region) => Math.max(FEWEST, region.nodes.length);
  const whole = regions.reduce((sum, region) => sum + room(region) + GAP, 0);
  if (!regions.length) return [];
  const step = (2 * Math.PI) / whole;
  const start = regions.length <= 2 ? Math.PI : -Math.PI / 2;
  let angle = start - ((room(regions[0]) - 1) * step) / 2;
  return regions.map((region) => {
    const from = angle;
    const to = angle + (room(region) - 1) * step;
    const middle = (from + to) / 2;
    const places = region.nodes.map((_, index) => middle + (index - (region.nodes.length - 1) / 2) * step);
    angle += (room(region) + GAP) * step;
    const [first, last] = region.nodes.length > 1 ? [places[0], places.at(-1)] : [middle - 0.001, middle + 0.001];
    return { ...region, from: first, to: last, middle, places };
  });
}

function at(angle, [x, y]) {
  return [MIDDLE[0] + x * Math.cos(angle), MIDDLE[1] + y * Math.sin(angle)];
}

function arc(from, to) {
  const steps = Math.max(2, Math.ceil((to - from) / 0.08));
  const points = [];
  for (let step = 0; step <= steps; step++) {
    points.push(at(from + ((to - from) * step) / steps, RADII).map((value) => value.toFixed(1)).join(" "));
  }
  return `M${points.join("L")}`;
}

function line(place, link, used) {
  const state = link.state === null || link.state === "idle" ? "session" : link.state;
  const flow = (link.in ?? 0) + (link.out ?? 0);
  const width = state === "session" && !used ? 1 : 1.6 + Math.min(4, Math.log10(1 + flow / 1000));
  const made = shape("line", {
    class: "line", "data-state": state, "data-route": used, x1: MIDDLE[0], y1: MIDDLE[1], x2: place[0], y2: place[1],
  });
  made.style.strokeWidth = `${used ? Math.max(3, width) : width}px`;
  made.append(title(`${short(nodeName(link.node))}: ${link.state ?? link.ways.join(", ")} ${milliseconds(link.rtt_seconds)}`));
  return { shape: made, rank: used ? 2 : state === "session" ? 0 : 1 };
}

function dot(place, node, many) {
  const made = shape("circle", { class: "dot", "data-state": node.state, cx: place[0], cy: place[1], r: many > 40 ? 4 : 6 });
  made.append(title(`${short(nodeName(node.node))}, ${node.state}`));
  return made;
}

// The name of a region and how far it is, unless it would be over another one.
function label(region, others) {
  const [x, y] = at(region.middle, LABELS);
  const side = Math.cos(region.middle);
  const anchor = side > 0.25 ? "start" : side < -0.25 ? "end" : "middle";
  const lower = Math.sin(region.middle);
  const top = lower < -0.75 ? y - 16 : lower > 0.75 ? y + 12 : y - 2;
  const text = short(region.region || "no region", 16);
  const rtts = region.nodes.map((node) => node.rtt_seconds).filter((rtt) => rtt !== null);
  const far = rtts.length ? milliseconds(Math.min(...rtts)) : "";
  const single = region.nodes.length === 1;
  const details = single ? [short(brief(region.nodes[0].node), 16), far] : [`${region.nodes.length} nodes${far && " · "}${far}`];
  const width = Math.max(text.length * 7.5, ...details.map((line) => line.length * 6.4));
  const left = anchor === "start" ? x : anchor === "end" ? x - width : x - width / 2;
  const box = [left, top - 12, left + width, top + 4 + 14 * details.length];
  const covered = others.some(({ box: other }) => other && box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3]);
  if (covered) return [];
  return [
    { shape: words(text, x, top, anchor, "region-name"), box },
    ...details.map((line, row) => ({ shape: words(line, x, top + 14 * (row + 1), anchor, "quiet"), box: null })),
  ];
}

function words(text, x, y, anchor, kind) {
  const made = shape("text", { class: kind, x, y, "text-anchor": anchor });
  made.textContent = text;
  return made;
}

function title(text) {
  const made = shape("title", {});
  made.textContent = text;
  return made;
}

function shape(tag, attributes) {
  const made = document.createElementNS(SPACE, tag);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, typeof value === "number" ? value.toFixed(1) : value);
  }
  return made;
}
