// Building elements. Text reaches the page as text nodes alone, so nothing that people wrote becomes markup.

import {TEXT} from "./strings.js";

// Return a new element. A function is a listener, `true` an attribute without a value; `false` and null are left out.
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== false && value != null) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

export const button = (text, click, attributes = {}) => el("button", {type: "button", click, ...attributes}, text);
export const link = (path, attributes, ...children) => el("a", {href: path, ...attributes}, ...children);

// A name may hold right-to-left letters: <bdi> keeps them from reordering the text around it.
export const name = (user) => el("bdi", {class: "name"}, user.display_name);

export const userLink = (user) =>
  link(`@${user.handle}`, {class: "user"}, name(user), " ", el("span", {class: "handle"}, `@${user.handle}`));

// Tell screen readers about a change that others see.
export function announce(text) {
  const region = document.getElementById("announcements");
  region.append(el("p", {}, text));
  if (region.children.length > 5) region.firstChild.remove();
}

// Run a function that fills an element anew. The focus moves to the link or the button that replaces the focused one.
export function keepFocus(parent, fill) {
  const place = ({dataset, href, textContent}) => dataset.action ?? href ?? textContent;
  const focused = parent.contains(document.activeElement) && place(document.activeElement);
  fill();
  if (focused) [...parent.querySelectorAll("a, button")].find((each) => place(each) === focused)?.focus();
}

const findDialog = (title) => [...document.querySelectorAll("dialog")].find((each) => each.ariaLabel === title);

export function closeDialogs() {
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close(""));
}

// Show a modal dialog until it closes. Returns the value that closed it, "" for Escape and Cancel.
export async function showDialog(title, content, actions = []) {
  // A second click, while the first one's dialog was loading.
  if (findDialog(title)) return "";
  const opener = document.activeElement;
  const dialog = el(
    "dialog",
    {"aria-label": title},
    el("h2", {}, title),
    content,
    el("div", {class: "actions"}, ...actions, button(actions.length ? TEXT.cancel : TEXT.close, () => dialog.close(""))),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      // The opener may have left the page.
      (opener.isConnected ? opener : document.getElementById("main")).focus({preventScroll: true});
      resolve(dialog.returnValue);
    });
  });
}

export async function confirmed(question, action) {
  const yes = button(action, (event) => event.target.closest("dialog").close("yes"), {class: "danger"});
  return (await showDialog(action, el("p", {}, question), [yes])) === "yes";
}

// A select with a label. `choices` are the texts by value.
export function labelledSelect(label, choices, selected) {
  const options = Object.entries(choices).map(([value, text]) => el("option", {value, selected: value === selected}, text));
  return el("label", {}, label, " ", el("select", {name: "choice"}, options));
}

// A URL, which ends a match for the server too; a mention, or a hashtag: the rules of docs/contract.md, Text.
const WORD = String.raw`\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}`;
const ADDRESS = String.raw`[${WORD}\-.~:\/?#\[\]@!$&'\(\)*+,;=%]`;
const IGNORABLE = String.raw`\p{Default_Ignorable_Code_Point}`;
const PARTS = new RegExp(
  String.raw`(?<url>https?:\/\/${ADDRESS}+)` +
    String.raw`|(?:[A-Za-z0-9+.\-]:\/\/|(?<![A-Za-z0-9_.])[Ww]{3}\.)${ADDRESS}*` +
    String.raw`|(?<![A-Za-z0-9_@\/])@(?<handle>[A-Za-z0-9_]{1,30})(?![A-Za-z0-9_@]|[.\/][${WORD}])` +
    String.raw`|(?<![[\p{L}\p{M}\p{N}_#＃&\/]--${IGNORABLE}])[#＃]` +
    // A lookahead with a reference to its group does not backtrack.
    String.raw`(?=(?<tag>[\p{L}\p{N}_][\p{L}\p{M}\p{N}_${IGNORABLE}]*))\k<tag>(?!:\/\/)`,
  "gv",
);
const FOLDED_TAG = /^[\p{L}\p{N}_][\p{L}\p{M}\p{N}_]{0,49}$/u;

// Return the text as nodes: links, mentions and hashtags are links, all else is text.
export function richText(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(PARTS)) {
    const node = linkFor(match);
    if (!node) continue;
    nodes.push(text.slice(end, match.index), node);
    end = match.index + node.textContent.length;
  }
  return [...nodes, text.slice(end)];
}

function linkFor({0: whole, groups: {url, handle, tag}}) {
  if (handle) return link(`@${handle}`, {}, whole);
  if (tag) {
    const folded = tag.replace(/\p{Default_Ignorable_Code_Point}+/gu, "").normalize("NFKC");
    return FOLDED_TAG.test(folded) ? link(`tags/${encodeURIComponent(tag)}`, {}, whole) : null;
  }
  // A stop or a bracket at the end belongs to the sentence.
  const address = url?.replace(/[.,;:!?'\])]+$/, "");
  if (!address || !URL.canParse(address)) return null;
  return el("a", {href: address, rel: "nofollow ugc noopener noreferrer"}, el("bdi", {}, address));
}
