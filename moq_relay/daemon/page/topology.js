// The cluster as one relay sees it, live; by asking again and again where nothing may come by itself.

import { draw } from "/page/topology_map.js";
import { bits, brief, count, element, keyed, learn, milliseconds, moment, name, nodeName, plain, say, short } from "/page/topology_text.js";

const POLL_SECONDS = 5; // between two questions, where events don't come by themselves
const AGAIN_SECONDS = 60; // until events are asked for again
const SILENT_SECONDS = 6; // without a picture: the relay is taken for gone
const ASK_SECONDS = 2; // between two questions for the way of the chosen broadcast
const LIST_SECONDS = 5; // between two questions for what is below a path
const TYPING_SECONDS = 0.25;
const FOUND = 100;
const OWNERS = 3; // named in the list; the way shows all

const at = (id) => document.getElementById(id);
const seconds = () => performance.now() / 1000;

let picture = null; // the newest
let before = null; // the one that rates are counted from
let came = -Infinity; // when
let chosen = null; // path of the broadcast whose way is shown
let way = null; // that way, as the relay told it
let below = ""; // the path below which broadcasts are listed
let found = null; // those, when that is not every path

// --- what comes ----------------------------------------------------------------------------------

let stream = null;
let polling = null;

function listen() {
  stopPolling();
  stream = new EventSource("/topology/live");
  stream.onmessage = (event) => show(JSON.parse(event.data), "live");
  stream.onerror = () => {
    if (stream.readyState !== EventSource.CLOSED) return lost(); // it comes back by itself
    stream = null;
    poll();
  };
}

function poll() {
  if (polling !== null) return;
  polling = { ask: setInterval(ask, POLL_SECONDS * 1000), again: setTimeout(listen, AGAIN_SECONDS * 1000) };
  ask();
}

function stopPolling() {
  if (polling === null) return;
  clearInterval(polling.ask);
  clearTimeout(polling.again);
  polling = null;
  notice("");
}

async function ask() {
  try {
    const told = await json("/topology");
    if (polling === null) return;
    const { watching, most } = told.live;
    const why = watching >= most ? `${most} pages watch this relay live already` : "The relay sends no events";
    notice(`${why}; this page asks every ${POLL_SECONDS} s instead.`);
    show(told.picture, `every ${POLL_SECONDS} s`);
  } catch {
    lost();
  }
}

async function json(address) {
  const answer = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(POLL_SECONDS * 1000) });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

function show(told, how) {
  if (picture !== null && told.at > picture.at && told.at - picture.at < 30 && told.self === picture.self) before = picture;
  else before = null;
  picture = told;
  came = seconds();
  state(how === "live" ? "live" : "wait", how);
  trouble(told.isolated ? `Isolated: ${short(told.isolated)}. What is shown is this relay's copy.` : "");
  render();
}

function lost() {
  state("lost", "no answer");
  const since = picture === null ? "" : ` since ${moment(picture.at, picture.at)} UTC`;
  trouble(`No answer from the relay${since}; asking again. What is shown may be old.`);
}

function state(kind, text) {
  at("state").dataset.state = kind;
  say(at("state"), text);
}

function trouble(text) {
  at("trouble").hidden = !text;
  say(at("trouble"), text);
}

function notice(text) {
  at("note").hidden = !text;
  say(at("note"), text);
}

// --- what is shown -------------------------------------------------------------------------------

function render() {
  for (const link of picture.links) {
    const earlier = before?.links.find((one) => one.node === link.node);
    link.in = rate(link.bytes_in, earlier?.bytes_in);
    link.out = rate(link.bytes_out, earlier?.bytes_out);
  }
  const ending = learn(picture.nodes.map((node) => node.node));
  say(at("ending"), ending && `names end in ${short(ending, 60)}`);
  const label = picture.self === null ? "moq-relay" : nodeName(picture.self);
  name(at("self"), label, 60);
  document.title = `${short(label, 60)}: moq-relay`;
  say(at("region"), [short(picture.region, 40), picture.root && picture.mode !== "standalone" ? "root" : ""].filter(Boolean).join(" · "));
  say(at("version"), `moq-relay ${picture.version}`);
  say(at("clock"), `${moment(picture.at, picture.at)} UTC`);
  at("clock").dateTime = new Date(picture.at * 1000).toISOString();
  figures();
  links();
  regions();
  broadcasts();
  routes();
  events();
}

function rate(now, earlier) {
  if (before === null || earlier === undefined || now < earlier) return null;
  return (now - earlier) / (picture.at - before.at);
}

function figures() {
  const states = new Map();
  for (const node of picture.nodes) states.set(node.state, (states.get(node.state) ?? 0) + 1);
  const unwell = [...states].filter(([is]) => is !== "up").map(([is, number]) => `${number} ${is}`).join(", ");
  const standing = new Set(picture.nodes.map((node) => node.region)).size;
  const up = picture.links.filter((link) => link.state === "up").length;
  const shown = [
    ["nodes", count(picture.nodes.length), unwell || (picture.nodes.length ? "all up" : ""), unwell ? "bad" : ""],
    ["regions", count(standing)],
    ["broadcasts", count(picture.broadcasts.total)],
    ["links up", count(up)],
    ["sessions here", count(picture.sessions)],
    ["subscriptions", count(picture.viewers)],
    ["media in", bits(rate(picture.bytes_in, before?.bytes_in))],
    ["media out", bits(rate(picture.bytes_out, before?.bytes_out))],
  ];
  keyed(at("figures"), shown, ([title]) => title, ([title]) => {
    const made = element("div");
    const value = element("dd");
    value.append(element("b"), element("small"));
    made.append(element("dt", "", title), value);
    return made;
  }, (child, [, value, more = "", kind = ""]) => {
    say(child.querySelector("b"), value);
    say(child.querySelector("small"), more);
    child.querySelector("small").dataset.state = kind;
  });
}

function cells(kinds) {
  const row = element("tr");
  for (const kind of kinds) row.append(element("td", kind));
  return row;
}

const RANK = { up: 0, suspect: 1, dialling: 2, down: 3, idle: 4 };
const WAYS = { link: "link", taken: "incoming", join: "joined", probe: "probe" };

function links() {
  const rank = (link) => RANK[link.state] ?? 4;
  const shown = [...picture.links].sort((one, other) => rank(one) - rank(other) || `${one.node}`.localeCompare(`${other.node}`));
  keyed(at("links"), shown, (link) => `${link.node}`, () => cells(["name", "state", "n", "n", "n", "n"]), (row, link) => {
    const [who, how, rtt, tracks, into, out] = row.children;
    if (link.node === null) name(who, "other nodes, unnamed");
    else name(who, brief(link.node), 60, nodeName(link.node));
    const others = link.ways.filter((kind) => kind !== "link").map((kind) => WAYS[kind] ?? kind).join(", ");
    if (link.node === null) who.title = "They came without a token, so that nothing proves who they are.";
    const idle = link.state === null || link.state === "idle";
    say(how, idle && others ? others : (link.state ?? others));
    how.dataset.state = idle && others ? "session" : (link.state ?? "session");
    how.title = link.ways.map((kind) => WAYS[kind] ?? kind).join(", ");
    say(rtt, milliseconds(link.rtt_seconds));
    say(tracks, link.tracks ? count(link.tracks) : "");
    say(into, link.ways.length ? bits(link.in) : "");
    say(out, link.ways.length ? bits(link.out) : "");
  });
  at("no-links").hidden = shown.length > 0;
  const route = { nodes: new Set((way?.routes ?? []).map((one) => one.node)), used: way?.routes.find((one) => one.in_use)?.node };
  draw(at("map"), picture, route);
}

function regions() {
  const groups = new Map();
  for (const node of picture.nodes) {
    if (!groups.has(node.region)) groups.set(node.region, []);
    groups.get(node.region).push(node);
  }
  const shown = [...groups].sort(([one], [other]) => (one < other ? -1 : 1));
  keyed(at("regions"), shown, ([region]) => region, ([region]) => {
    const made = element("section", "region");
    const title = element("h3");
    const called = element("bdi");
    name(called, region || "no region", 40);
    title.append(called, element("small"));
    const table = element("table");
    const head = cells([]);
    for (const [text, kind] of [["node", ""], ["state", ""], ["paths", "n"], ["RTT", "n"]]) {
      const cell = element("th", kind, text);
      cell.scope = "col";
      head.append(cell);
    }
    table.append(element("thead"), element("tbody"));
    table.firstChild.append(head);
    made.append(title, table);
    return made;
  }, (made, [, nodes]) => {
    const up = nodes.filter((node) => node.state === "up").length;
    const rtts = nodes.map((node) => node.rtt_seconds).filter((rtt) => rtt !== null);
    const many = nodes.length === 1 ? "1 node" : `${nodes.length} nodes`;
    const well = up === nodes.length ? many : `${up} of ${many} up`;
    say(made.querySelector("small"), [well, rtts.length ? milliseconds(Math.min(...rtts)) : ""].filter(Boolean).join(" · "));
    keyed(made.querySelector("tbody"), nodes, (node) => node.node, () => {
      const row = cells(["", "state", "n", "n"]);
      row.firstChild.append(element("bdi", "name"), element("span"));
      return row;
    }, (row, node) => {
      const [who, how, has, rtt] = row.children;
      const here = node.node === picture.self;
      row.classList.toggle("here", here);
      name(who.firstChild, brief(node.node), 48, nodeName(node.node));
      const tags = [...node.roles];
      say(who.lastChild, short(tags.join(", "), 20));
      who.lastChild.className = tags.length ? "tag" : "";
      say(how, node.state);
      how.dataset.state = node.state;
      say(has, count(node.broadcasts));
      say(rtt, here ? "here" : milliseconds(node.rtt_seconds));
    });
  });
  at("alone").hidden = picture.nodes.length > 0;
}

function broadcasts() {
  const list = below ? (found ?? { origins: [], more: false }) : picture.broadcasts;
  keyed(at("broadcasts"), list.origins, (origin) => origin.path, (origin) => {
    const made = element("li");
    const button = element("button");
    button.type = "button";
    button.append(element("bdi", "name"), element("bdi", "name owners"));
    name(button.firstChild, origin.path || "(the root)");
    button.addEventListener("click", () => choose(origin.path));
    made.append(button);
    return made;
  }, (made, origin) => {
    const button = made.firstChild;
    button.setAttribute("aria-pressed", origin.path === chosen);
    const owners = origin.claims.slice(0, OWNERS).map((claim) => {
      const is = claim.state === "live" ? "" : ` (${claim.state})`;
      return short(brief(claim.node), 40) + is;
    });
    const rest = origin.claims.length > OWNERS ? ` and ${origin.claims.length - OWNERS} more` : "";
    say(button.lastChild, owners.join(", ") + rest);
  });
  let text = "";
  if (list.more) text = `The first ${list.origins.length}${below ? "" : ` of ${count(picture.broadcasts.total)}`}; write what the path begins with to see others.`;
  else if (!list.origins.length) text = below ? "Nobody has a broadcast there." : "Nobody has a broadcast.";
  say(at("more"), text);
}

function routes() {
  at("route").hidden = chosen === null;
  if (chosen === null) return;
  const known = way !== null && way.path === chosen ? way : null;
  name(at("route-path"), known?.broadcast ?? chosen);
  const list = known?.routes ?? [];
  say(at("route-why"), known === null ? "…" : sentence(list));
  keyed(at("route"), list, (one) => `${one.node} ${one.since}`, () => {
    const made = element("li");
    const who = element("span");
    who.append(element("bdi", "name"), element("span", "quiet"));
    made.append(element("span", "mark"), who, element("span", "state"), element("span", "why"));
    return made;
  }, (made, one) => {
    const [mark, who, how, why] = made.children;
    made.dataset.used = one.in_use;
    say(mark, one.in_use ? "→" : "");
    mark.title = one.in_use ? "in use" : "";
    name(who.firstChild, brief(one.node), 60, nodeName(one.node));
    say(who.lastChild, one.region ? ` ${short(one.region, 30)}` : "");
    say(how, one.state);
    how.dataset.state = one.state;
    const link = one.link === null ? "published here" : `link ${one.link}`;
    const facts = [one.reason, link, milliseconds(one.rtt_seconds), `since ${moment(one.since, picture.at)} UTC`];
    say(why, facts.filter(Boolean).map(plain).join(" · "));
  });
}

function sentence(list) {
  if (!list.length) return "Nobody has it.";
  const used = list.find((one) => one.in_use);
  if (used === undefined) return "It comes by none of these ways now.";
  if (used.link === null) return `Published at this relay: ${plain(used.reason)}.`;
  const far = used.rtt_seconds === null ? "" : `, ${milliseconds(used.rtt_seconds)} away`;
  if (used.link === "idle") return `Nobody here watches it; it would come from ${short(brief(used.node), 60)}${far}: ${plain(used.reason)}.`;
  return `It comes from ${short(brief(used.node), 60)}${far}: ${plain(used.reason)}.`;
}

function events() {
  keyed(at("events"), picture.events, (one) => `${one.at} ${one.kind} ${one.about}`, (one) => {
    const made = element("li");
    const said = element("span", "said");
    const about = element("bdi", "name");
    const ofNode = one.kind === "node" || one.kind === "link";
    name(about, ofNode ? brief(one.about) : one.about, 80, ofNode ? nodeName(one.about) : one.about);
    const what = one.said.replace(/https:\/\/[^\s,]+/g, brief);
    const text = element("bdi", "name quiet");
    name(text, what, 200);
    said.append(about, " ", text);
    made.append(element("time", "quiet", moment(one.at, picture.at)), element("span", "kind", one.kind), said);
    return made;
  }, () => {});
  at("no-events").hidden = picture.events.length > 0;
}

// --- what is asked for ---------------------------------------------------------------------------

function choose(path) {
  chosen = path;
  way = null;
  history.replaceState(null, "", `#${new URLSearchParams({ way: path })}`);
  if (picture !== null) render();
  follow();
}

async function follow() {
  const path = chosen;
  if (path === null) return;
  try {
    const told = await json(`/routes?${new URLSearchParams({ path })}`);
    if (chosen !== path) return;
    way = { ...told, path };
    if (picture !== null) render();
  } catch {
    // The picture says whether the relay answers.
  }
}

async function search() {
  const prefix = below;
  if (!prefix) return;
  try {
    const told = await json(`/origins?${new URLSearchParams({ prefix, limit: FOUND })}`);
    if (below !== prefix) return;
    found = { origins: told.origins, more: told.next !== null };
    if (picture !== null) render();
  } catch {
    // As above.
  }
}

let typing = 0;
at("filter").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    below = at("filter").value.replace(/^\/+|\/+$/g, "");
    found = null;
    if (below) search();
    else if (picture !== null) render();
  }, TYPING_SECONDS * 1000);
});

function linked() {
  const path = new URLSearchParams(location.hash.slice(1)).get("way");
  if (path !== null && path !== chosen) choose(path);
}

addEventListener("hashchange", linked);
linked();
listen();
setInterval(follow, ASK_SECONDS * 1000);
setInterval(search, LIST_SECONDS * 1000);
setInterval(() => {
  if (polling === null && seconds() - came > SILENT_SECONDS && picture !== null) lost();
}, 1000);
