// The page's frame: its header, and one view for each entry of the browser's history.

import "./activity.js";
import {ApiError, banner, loadModule, optional, read, request, ROOT, showBanner} from "./api.js";
import {button, closeDialogs, el, keepFocus, link, name} from "./dom.js";
import * as session from "./session.js";
import {TEXT} from "./strings.js";

// The paths of the server, below its root, and the module that shows each.
const UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}";
const HANDLE = "[A-Za-z0-9_]{1,30}";
const ROUTES = [
  ["", "home"],
  [`@(${HANDLE})`, "profile"],
  [`@(${HANDLE})/status/(${UUID})`, "thread"],
  ["search", "search"],
  ["tags/([^/]+)", "search"],
  ["notifications", "notifications"],
  ["account", "account"],
  ["messages", "messages"],
  [`messages/(${UUID})`, "messages"],
  [`messages/@(${HANDLE})`, "messages"],
].map(([path, module]) => [new RegExp(`^${path}$`), module]);

// Views that "back" and "forward" show again as they were left.
const MAX_VIEWS = 20;
const UNREAD_INTERVAL = 30_000;

const views = new Map();
let current = null;
const main = el("main", {id: "main", tabindex: "-1"});
const nav = el("nav", {"aria-label": TEXT.navigation});
const account = el("div", {class: "account"});
const skip = el("a", {class: "skip", click: (event) => (event.preventDefault(), main.focus())}, TEXT.skip);

// The content of one history entry. Its signal ends with it; "show" and "hide" say when it is on the page.
class View extends EventTarget {
  constructor() {
    super();
    this.element = el("div", {class: "view"});
    // The user may be elsewhere before the view has loaded.
    this.url = new URL(location.href);
    this.controller = new AbortController();
    this.signal = this.controller.signal;
    this.scroll = 0;
    this.isShown = false;
    this.title = "Cruddur";
    // The list that grows as the user scrolls.
    this.list = null;
  }

  // Set the heading and the title of the page.
  set heading(text) {
    this.title = text === TEXT.home ? "Cruddur" : `${text} · Cruddur`;
    if (this.isShown) document.title = this.title;
  }

  // Run a function each `seconds` while the view is on a visible page; after failures less often.
  poll(seconds, run) {
    let timer = null;
    let failures = 0;
    let isRunning = false;
    let earliest = 0;
    const tick = async () => {
      clearTimeout(timer);
      if (Date.now() < earliest) return (timer = setTimeout(tick, earliest - Date.now()));
      if (isRunning || this.signal.aborted || !this.isShown || document.hidden || !navigator.onLine) return;
      isRunning = true;
      let wait = seconds;
      try {
        await run();
        failures = 0;
      } catch (error) {
        if (this.signal.aborted) return;
        if (!(error instanceof ApiError)) throw error;
        failures = Math.min(failures + 1, 4);
        wait = error.retryAfter ?? seconds * 2 ** failures;
        // A return to the view does not hurry a server that named a time.
        if (error.retryAfter) earliest = Date.now() + wait * 1000;
      } finally {
        isRunning = false;
      }
      timer = setTimeout(tick, wait * 1000);
    };
    const options = {signal: this.signal};
    this.addEventListener("show", tick, options);
    document.addEventListener("visibilitychange", tick, options);
    addEventListener("online", tick, options);
    timer = setTimeout(tick, seconds * 1000);
  }
}

function show(view) {
  if (current) hide(current);
  current = view;
  view.isShown = true;
  main.replaceChildren(view.element);
  lastScroll = view.scroll;
  document.title = view.title;
  view.dispatchEvent(new Event("show"));
  scrollTo(0, view.scroll);
  view.focused?.focus({preventScroll: true});
  renderNavigation();
}

function hide(view) {
  view.focused = view.element.contains(document.activeElement) ? document.activeElement : null;
  view.isShown = false;
  view.dispatchEvent(new Event("hide"));
}

// Show the view of the current history entry, a new one if it has none.
function navigate({isNew = false} = {}) {
  if (current) current.scroll = lastScroll;
  const key = history.state?.key ?? session.randomText();
  if (!history.state?.key) history.replaceState({key}, "");
  const known = views.get(key);
  if (known) return show(known);
  const view = new View();
  views.set(key, view);
  if (views.size > MAX_VIEWS) discard(views.keys().next().value);
  show(view);
  render(view);
  // Screen readers continue at the top of the new page.
  if (isNew) main.focus({preventScroll: true});
}

function discard(key) {
  views.get(key).controller.abort();
  views.delete(key);
}

async function render(view) {
  const place = history.state.scroll ?? 0;
  const path = pathOf(view.url);
  const [pattern, module] = ROUTES.find(([pattern]) => pattern.test(path)) ?? [];
  if (!pattern) return showMessage(view, TEXT.notFound);
  await fill(view, async () => (await loadModule(module, view.signal)).render(view, pattern.exec(path)));
  await returnTo(place, view);
}

// Scroll to where the user left this entry of the history in another document: before a reload, or on the way to
// another site. The list loads as many pages as this takes.
async function returnTo(place, view) {
  const isLong = () => document.documentElement.scrollHeight >= place + innerHeight;
  while (view.isShown && !isLong() && view.list?.next) {
    const {next} = view.list;
    await view.list.loadMore();
    if (view.list.next === next) return;
  }
  // The user may have scrolled meanwhile.
  if (view.isShown && scrollY === 0) scrollTo(0, place);
}

// Return the decoded path of a URL below the root, or null.
function pathOf({href}) {
  const path = href.split(/[?#]/)[0];
  try {
    return path.startsWith(ROOT) ? decodeURIComponent(path.slice(ROOT.length)) : null;
  } catch {
    return null;
  }
}

// Fill a view, or say why this is not possible.
async function fill(view, run) {
  view.element.setAttribute("aria-busy", "true");
  try {
    await run();
  } catch (error) {
    if (view.signal.aborted) return;
    if (!(error instanceof ApiError)) showMessage(view, TEXT.failed, button(TEXT.tryAgain, () => location.reload()));
    else if (error.status === 401) showMessage(view, TEXT.needsSignIn, button(TEXT.signIn, () => session.signIn(ROOT)));
    else if (error.status === 404) showMessage(view, view.notFound ?? TEXT.notFound, view.notFoundReason && el("p", {}, view.notFoundReason));
    else showMessage(view, error.text, button(TEXT.tryAgain, () => location.reload()));
    if (!(error instanceof ApiError)) throw error;
  } finally {
    view.element.removeAttribute("aria-busy");
  }
}

function showMessage(view, title, ...more) {
  view.heading = title;
  view.element.replaceChildren(el("div", {class: "message-page"}, el("h1", {}, title), more));
}

let lastScroll = 0;
let unread = 0;

const renderNavigation = () => keepFocus(nav, fillNavigation);

function fillNavigation() {
  const me = session.user();
  const here = location.pathname;
  // Before this the address may have a token.
  skip.href = location.href;
  const item = (path, text, extra) => {
    const isHere = new URL(path, ROOT).pathname === here;
    return link(path, {"aria-current": isHere && "page", ...extra}, text);
  };
  const badge = unread ? {"aria-label": TEXT.unreadNotifications(unread), "data-unread": unread} : {};
  nav.replaceChildren(
    item("./", TEXT.home),
    item("search", TEXT.search),
    ...(me ? [item("notifications", TEXT.notifications, badge), item("messages", TEXT.messages), item(`@${me.handle}`, TEXT.profile)] : []),
  );
  account.replaceChildren(
    ...(me
      ? [el("span", {}, el("span", {class: "hidden"}, `${TEXT.signedInAs} `), name(me)), button(TEXT.signOut, () => session.signOut(ROOT))]
      : [button(TEXT.signIn, () => session.signIn(ROOT), {class: "primary"})]),
  );
}

async function loadUnread() {
  if (!session.user() || document.hidden || !navigator.onLine) return;
  const result = await optional(request("GET", "api/notifications/unread"));
  if (result) setUnread(result.data.is_more ? `${result.data.count}+` : result.data.count);
}

// `count` is a number, or a text such as "100+".
export function setUnread(count) {
  if (count === unread) return;
  unread = count;
  renderNavigation();
}

// Follow links within the page without loading it again.
function followLink(event) {
  const anchor = event.target.closest?.("a[href]");
  const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!anchor || !isPlain || event.defaultPrevented || anchor.target) return;
  const url = new URL(anchor.href);
  const path = pathOf(url);
  if (path === null || !ROUTES.some(([pattern]) => pattern.test(path))) return;
  event.preventDefault();
  goTo(url.href);
}

export function goTo(path) {
  history.pushState({key: session.randomText()}, "", new URL(path, ROOT));
  navigate({isNew: true});
}

// Load the other views anew when the user comes back to them: they show activities that are hidden now.
export function forgetOtherViews() {
  for (const [key, view] of [...views]) if (view !== current) discard(key);
}

// Show all views anew after the end of a sign-in: an anonymous client sees other activities.
function restart() {
  for (const key of [...views.keys()]) discard(key);
  setUnread(0);
  navigate();
}

async function start() {
  const header = el("header", {class: "top"}, skip, link("./", {class: "logo"}, "Cruddur"), nav, account);
  const announcements = el("div", {id: "announcements", class: "hidden", "aria-live": "polite"});
  document.querySelector("noscript").replaceWith(header, banner, main, announcements);
  const {path, error} = await session.arrive(ROOT);
  if (path) history.replaceState(null, "", path);
  history.scrollRestoration = "manual";
  addEventListener("popstate", () => {
    closeDialogs();
    navigate();
  });
  // A sign-in link of bin/dev that is opened in this tab changes the fragment alone.
  addEventListener("hashchange", () => location.hash.startsWith("#token=") && location.reload());
  // By the time of "popstate" the browser may have changed the scroll position.
  addEventListener("scroll", () => (lastScroll = scrollY), {passive: true});
  addEventListener("scrollend", () => history.replaceState({...history.state, scroll: scrollY}, ""));
  addEventListener("offline", () => showBanner(TEXT.offline));
  addEventListener("online", () => showBanner(""));
  document.addEventListener("click", followLink);
  session.events.addEventListener("expire", () => session.ask(ROOT, TEXT.signInEnded));
  if (session.isSignedIn() && !session.user()) await loadUser();
  session.events.addEventListener("end", restart);
  session.events.addEventListener("user", renderNavigation);
  navigate();
  if (error) session.ask(ROOT, error);
  loadUnread();
  setInterval(loadUnread, UNREAD_INTERVAL);
}

// Learn whose token this is. A refused token leaves an anonymous page.
async function loadUser() {
  const result = await optional(read("api/users/me"));
  if (result) session.setUser(result.data);
  else session.end();
}

start();
