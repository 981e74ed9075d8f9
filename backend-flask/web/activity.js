// An activity on the page, its countdown, and lists of activities.

import {announce, button, confirmed, el, link, richText, showDialog, userLink} from "./dom.js";
import {ApiError, likePath, loadModule, now, read, repostPath, request, ROOT, threadPath} from "./api.js";
import * as session from "./session.js";
import {TEXT} from "./strings.js";

const SECOND = 1000;
const UNITS = [
  ["d", 24 * 3600],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
];
// Twice as often as a second, so that an activity leaves within one.
const TICK = SECOND / 2;

// Changes of activities, by uuid: every copy on every page follows them. A detail of null means gone.
const changes = new EventTarget();
export const changed = (uuid, activity) => changes.dispatchEvent(new CustomEvent(uuid, {detail: activity}));

// Return a length of time in its two largest units: "3 h 12 min".
function duration(seconds) {
  const first = UNITS.findIndex(([, size]) => seconds >= size);
  const parts = UNITS.slice(first, first + 2).map(([unit, size], index) => {
    const count = Math.floor(index ? (seconds % UNITS[first][1]) / size : seconds / size);
    return count || !index ? `${count} ${unit}` : "";
  });
  return parts.join(" ").trim();
}

export const age = (time) => duration(Math.max(1, Math.floor((now() - Date.parse(time)) / SECOND))).replace(/(\S+ \S+).*/, "$1");

// <time-left until="..."> counts down, and fires `expire` at its end.
class TimeLeft extends HTMLElement {
  static ticking = new Set();

  connectedCallback() {
    TimeLeft.ticking.add(this);
    this.tick();
  }

  disconnectedCallback() {
    TimeLeft.ticking.delete(this);
  }

  tick() {
    const milliseconds = Date.parse(this.getAttribute("until")) - now();
    if (milliseconds <= 0) {
      TimeLeft.ticking.delete(this);
      // After the caller has placed the activity, which this removes again.
      queueMicrotask(() => this.dispatchEvent(new Event("expire", {bubbles: true})));
      return;
    }
    const text = TEXT.left(duration(Math.ceil(milliseconds / SECOND)));
    if (this.textContent !== text) this.textContent = text;
    this.classList.toggle("soon", milliseconds < 60 * SECOND);
  }
}

customElements.define("time-left", TimeLeft);
const tickAll = () => [...TimeLeft.ticking].forEach((each) => each.tick());
setInterval(tickAll, TICK);
document.addEventListener("visibilitychange", tickAll);
setInterval(() => document.querySelectorAll("main time").forEach((time) => (time.textContent = age(time.dateTime))), 30 * SECOND);

// Run a write of a signed-in user, and tell about its failure. Returns its result, or null. `gone` runs after a 404.
export async function act(method, path, {body, gone} = {}) {
  if (!session.isSignedIn()) {
    await session.ask(ROOT, TEXT.needsSignInToAct);
    return null;
  }
  try {
    return (await request(method, path, {body})).data;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    // The end of a sign-in has a dialog of its own.
    if (error.status !== 401) await showDialog(TEXT.failedTitle, el("p", {role: "alert"}, error.text));
    if (error.status === 404) gone?.();
    return null;
  }
}

// Return the element of an activity. The view's signal ends its listening. `isMain`: the page is about this activity;
// `isReply`: the page shows what it replies to.
export function activityCard(activity, view, {isMain = false, isReply = false} = {}) {
  const card = el("article", {class: "card", "aria-label": TEXT.crudBy(activity.display_name)});
  let state = activity;
  // The text and the buttons stay in place: a reader may have selected the one, or have the focus on the other.
  const counters = [repliesLink(activity), toggle(activity, "reposted", () => state), toggle(activity, "liked", () => state)];
  const users = isMain ? [usersButton("likes", activity, view), usersButton("reposts", activity, view)] : [];
  const showCounts = () => [...counters, ...users].forEach((each) => each.show(state));
  const follow = ({detail}) => {
    if (!detail) return leave(card);
    state = {...state, ...detail};
    showCounts();
  };
  card.append(...parts(activity, isReply, users, counters));
  showCounts();
  changes.addEventListener(activity.uuid, follow, {signal: view.signal});
  card.addEventListener("expire", () => {
    if (leave(card)) announce(TEXT.goneFromPage);
  });
  return card;
}

// Remove a card from its list. A keyboard's focus in it moves to the next one, or to the page. Returns whether it was on the page.
export function leave(card) {
  const item = card.closest("li") ?? card;
  if (!item.isConnected && !item.parentNode) return false;
  const isVisible = item.isConnected;
  if (card.contains(document.activeElement)) {
    const neighbour = item.nextElementSibling ?? item.previousElementSibling;
    (neighbour?.querySelector("a") ?? document.getElementById("main")).focus();
  }
  const list = item.parentNode;
  item.remove();
  list.dispatchEvent(new CustomEvent("left", {bubbles: true, detail: card}));
  return isVisible;
}

function parts(activity, isReply, users, counters) {
  const path = threadPath(activity);
  const posted = el("time", {datetime: activity.created_at, title: new Date(activity.created_at).toLocaleString()}, age(activity.created_at));
  return [
    activity.reposted_by && el("p", {class: "note"}, `${TEXT.repostedBy} `, link(`@${activity.reposted_by}`, {}, `@${activity.reposted_by}`)),
    el(
      "header",
      {},
      userLink(activity),
      el("span", {class: "times"}, link(path, {}, posted), " · ", countdown(activity)),
    ),
    activity.reply_to_activity_uuid && !isReply && el("p", {class: "note"}, TEXT.isReply),
    el("p", {class: "message", dir: "auto"}, richText(activity.message)),
    users.length && el("p", {class: "lists"}, users.map(({element}) => element)),
    el("footer", {}, counters.map(({element}) => element), actions(activity, path)),
  ].filter(Boolean);
}

export const countdown = ({expires_at: until}) => (until ? el("time-left", {role: "timer", until}) : el("span", {}, TEXT.stays));

function actions(activity, path) {
  const isMine = session.isMe(activity.handle);
  return [
    button(TEXT.share, () => share(path)),
    isMine && button(TEXT.delete, () => remove(activity)),
    !isMine && session.isSignedIn() && button(TEXT.report, () => report({activity_uuid: activity.uuid})),
  ];
}

const symbol = (text) => el("span", {"aria-hidden": "true"}, `${text} `);

// Each counter has an element, and a function that shows the activity's state in this element.
function repliesLink(activity) {
  const count = el("span", {});
  const element = link(threadPath(activity), {class: "reply"}, symbol("↩"), count);
  const show = ({replies_count: replies}) => {
    element.ariaLabel = TEXT.countedReplies(replies);
    count.textContent = replies;
  };
  return {element, show};
}

const TOGGLES = {
  reposted: {sign: "⟳", counter: "reposts_count", label: TEXT.countedReposts, path: repostPath},
  liked: {sign: "♥", counter: "likes_count", label: TEXT.countedLikes, path: likePath},
};

function toggle(activity, member, state) {
  const {sign, counter, label, path} = TOGGLES[member];
  const click = async () => {
    // A disabled button would lose the focus.
    if (element.ariaDisabled) return;
    element.ariaDisabled = "true";
    let isGone = false;
    const result = await act(state()[member] ? "DELETE" : "PUT", path(activity), {gone: () => (isGone = true)});
    element.ariaDisabled = null;
    changed(activity.uuid, isGone ? null : result ?? {});
  };
  const count = el("span", {});
  const element = el("button", {type: "button", click, class: member}, symbol(sign), count);
  const show = (activity) => {
    element.ariaLabel = label(activity[counter]);
    element.ariaPressed = String(activity[member] === true);
    count.textContent = activity[counter];
  };
  return {element, show};
}

const USERS = {likes: [TEXT.likesLink, TEXT.likedBy], reposts: [TEXT.repostsLink, TEXT.repostedBy]};

// The users who like or reposted an activity, in a dialog.
function usersButton(kind, activity, view) {
  const [text, title] = USERS[kind];
  const click = async () => (await loadModule("users")).showUsers(title, `api/activities/${activity.uuid}/${kind}`, view);
  const element = button("", click, {class: "text"});
  const show = ({[`${kind}_count`]: count}) => {
    element.hidden = count === 0;
    element.textContent = text(count);
  };
  return {element, show};
}

async function share(path) {
  const url = new URL(path, ROOT).href;
  try {
    if (navigator.share) await navigator.share({url});
    else {
      await navigator.clipboard.writeText(url);
      announce(TEXT.linkCopied);
    }
  } catch (error) {
    if (error.name === "AbortError") return;
    // Without HTTPS, or without the permission, the browser has no clipboard for pages.
    await showDialog(TEXT.linkToCopy, el("input", {readonly: true, value: url, "aria-label": TEXT.linkToCopy}));
  }
}

async function remove(activity) {
  if (!(await confirmed(TEXT.deleteQuestion, TEXT.delete))) return;
  const gone = () => changed(activity.uuid, null);
  if (!(await act("DELETE", `api/activities/${activity.uuid}`, {gone}))) return;
  gone();
  announce(TEXT.deleted);
}

async function report(subject) {
  (await loadModule("users")).report(subject);
}

const keyOf = (row) => row.uuid ?? `${row.kind} ${row.created_at} ${row.user.uuid}`;

// A list that grows by pages: on scrolling, and by a button for keyboards. `item` returns an element for a row.
export class PagedList {
  constructor({path, view, item, label, empty, rows = (data) => data}) {
    Object.assign(this, {path, view, item, empty, rows, next: null, items: new Map()});
    this.list = el("ol", {class: "feed", "aria-label": label});
    this.note = el("p", {class: "empty", hidden: true}, empty);
    this.more = button(TEXT.more, () => this.loadMore(), {hidden: true, class: "more"});
    this.element = el("div", {}, this.list, this.note, this.more);
    this.list.addEventListener("left", () => this.showEnd());
    this.observer = new IntersectionObserver(([entry]) => entry.isIntersecting && this.loadMore(), {rootMargin: "600px"});
    view.signal.addEventListener("abort", () => this.observer.disconnect());
  }

  // Load the first page, and return its data. Throws ApiError.
  async load() {
    const result = await read(this.path, {signal: this.view.signal});
    this.view.list = this;
    this.first = result;
    this.etag = result.etag;
    this.items.clear();
    this.list.replaceChildren();
    this.append(result);
    return result.data;
  }

  async loadMore() {
    if (this.next) await (this.loading ??= this.loadNext().finally(() => (this.loading = null)));
  }

  async loadNext() {
    this.more.textContent = TEXT.loading;
    const {first} = this;
    try {
      const result = await read(this.next, {signal: this.view.signal});
      // Another first page has replaced the one that this page continues.
      if (first === this.first) this.append(result);
    } catch (error) {
      if (this.view.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this.more.textContent = TEXT.tryAgain;
      this.observer.unobserve(this.more);
    }
  }

  append({data, next}) {
    this.next = next;
    for (const row of this.rows(data)) this.insert(row, (item) => this.list.append(item));
    this.more.textContent = TEXT.more;
    this.showEnd();
    // An observer reports changes alone: without this, a short page would be the last one.
    this.observer.unobserve(this.more);
    if (next) this.observer.observe(this.more);
  }

  // Add the rows that the list lacks, each above its successor. Rows below the last known one follow with the next page.
  merge(page) {
    const last = page.findLastIndex((row) => this.has(row));
    const rows = last < 0 ? page : page.slice(0, last);
    for (const [index, row] of [...rows.entries()].reverse()) {
      const successor = page[index + 1] && this.items.get(keyOf(page[index + 1]));
      const place = successor?.parentNode === this.list ? successor : this.list.firstChild;
      this.insert(row, (item) => this.list.insertBefore(item, place));
    }
    this.showEnd();
  }

  insert(row, place) {
    if (this.has(row)) return;
    const item = el("li", {}, this.item(row));
    this.items.set(keyOf(row), item);
    place(item);
  }

  has(row) {
    return this.items.has(keyOf(row));
  }

  showEnd() {
    this.more.hidden = !this.next;
    this.note.hidden = this.list.children.length > 0 || Boolean(this.next);
  }
}

export const activityList = ({view, isReply, ...options}) =>
  new PagedList({view, item: (activity) => activityCard(activity, view, {isReply}), ...options});
