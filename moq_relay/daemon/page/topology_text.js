// Text that others chose, figures for people, and lists whose elements stay the same.

const LONGEST = 120; // characters of a name that are shown; the whole one is its title
const INVISIBLE = /[\p{C}\p{Zl}\p{Zp}]/gu; // speaks to nobody, turns text around, or shows nothing

export function plain(text) {
  return `${text}`.replace(INVISIBLE, (found) => {
    const number = found.codePointAt(0);
    if (number < 0x100) return `\\x${number.toString(16).padStart(2, "0")}`;
    if (number < 0x10000) return `\\u${number.toString(16).padStart(4, "0")}`;
    return `\\U${number.toString(16).padStart(8, "0")}`;
  });
}

export function short(text, most = LONGEST) {
  const shown = [...plain(text)];
  if (shown.length <= most) return shown.join("");
  const half = Math.floor(most / 2) - 1;
  return `${shown.slice(0, half).join("")} … ${shown.slice(-half).join("")}`;
}

// A node's URL as host and port.
export function nodeName(url) {
  if (url === null || url === undefined) return "this relay";
  return url.replace(/^https:\/\//, "").replace(/\/$/, "");
}

let ending = ""; // what all names end in

// Learns what `brief` leaves out: the labels and the port that the names of all nodes end in.
export function learn(urls) {
  const names = urls.map(nodeName);
  ending = names.length > 1 ? names[0] : "";
  for (const one of names) while (!one.endsWith(ending) || one === ending) ending = ending.slice(1);
  ending = /[.:].*$/.exec(ending)?.[0] ?? "";
  return ending;
}

// The same without what all of them end in.
export function brief(url) {
  const whole = nodeName(url);
  return ending && whole.endsWith(ending) ? whole.slice(0, -ending.length) : whole;
}

export function milliseconds(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const value = seconds * 1000;
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`;
}

export function bits(bytesPerSecond) {
  if (bytesPerSecond === null || bytesPerSecond === undefined) return "–";
  let value = bytesPerSecond * 8;
  for (const unit of ["b/s", "kb/s", "Mb/s"]) {
    if (value < 999.5) return `${value < 10 && unit !== "b/s" ? value.toFixed(1) : value.toFixed(0)} ${unit}`;
    value /= 1000;
  }
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)} Gb/s`;
}

export function count(number) {
  return number.toLocaleString("en").replaceAll(",", "\u202f");
}

export function moment(seconds, now) {
  const iso = new Date(seconds * 1000).toISOString();
  const sameDay = iso.slice(0, 10) === new Date(now * 1000).toISOString().slice(0, 10);
  return sameDay ? iso.slice(11, 19) : `${iso.slice(0, 10)} ${iso.slice(11, 16)}`;
}

// An element with text in it; nothing is ever read as markup.
export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

export function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

export function name(target, text, most = LONGEST, all = text) {
  const shown = short(text, most);
  say(target, shown);
  const whole = plain(all);
  if (whole !== shown) target.title = whole;
  else target.removeAttribute("title");
}

// Makes the children of `parent` those of `items`, in order. What stays is the same element, so that
// focus, selection and scroll position stay too.
export function keyed(parent, items, key, make, update) {
  const known = (parent.known ??= new Map());
  const wanted = new Set(items.map(key));
  for (const [id, child] of known) {
    if (wanted.has(id)) continue;
    child.remove();
    known.delete(id);
  }
  let place = parent.firstElementChild;
  for (const item of items) {
    const id = key(item);
    let child = known.get(id);
    if (child === undefined) known.set(id, (child = make(item)));
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, item);
  }
}
