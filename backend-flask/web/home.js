// The home page: everyone's feed, or that of the followed users; new activities; trends and suggestions.

import {loadModule, optional, request} from "./api.js";
import {activityList, changed} from "./activity.js";
import {announce, button, el, keepFocus, link, userLink} from "./dom.js";
import * as session from "./session.js";
import {TEXT} from "./strings.js";

const EVERYONE = "api/activities/home";
const FOLLOWING = "api/activities/following";
// The service caches the first page for anonymous clients: a 304 of everyone's feed costs no query.
const POLL_SECONDS = 10;
const FIRST_PAGE = 20;

export async function render(view) {
  view.heading = TEXT.home;
  const isFollowing = view.url.searchParams.get("feed") === "following" && session.isSignedIn();
  const list = activityList({
    path: isFollowing ? FOLLOWING : EVERYONE,
    view,
    label: isFollowing ? TEXT.following : TEXT.everyone,
    empty: isFollowing ? TEXT.emptyFollowing : TEXT.emptyHome,
  });
  const news = el("div", {class: "news"});
  const top = session.isSignedIn() ? await compose(list, view) : el("p", {class: "note"}, `${TEXT.welcome} ${TEXT.needsSignInToPost}`);
  view.element.append(
    el("div", {class: "columns"}, el("section", {}, el("h1", {}, TEXT.home), top, tabs(isFollowing), news, list.element), aside(view)),
  );
  await list.load();
  if (isFollowing || !session.isSignedIn()) list.seen = list.etag;
  view.poll(POLL_SECONDS, () => showNews(list, news, view, isFollowing));
}

function tabs(isFollowing) {
  if (!session.isSignedIn()) return null;
  const tab = (path, text, isHere) => link(path, {"aria-current": isHere && "true"}, text);
  const links = [tab("./", TEXT.everyone, !isFollowing), tab("./?feed=following", TEXT.following, isFollowing)];
  return el("nav", {class: "tabs", "aria-label": TEXT.feeds}, links);
}

async function compose(list, view) {
  const {composer} = await loadModule("compose");
  return composer({
    view,
    draft: "activity",
    title: TEXT.composeTitle,
    path: "api/activities",
    limit: 280,
    hasTTL: true,
    action: TEXT.post,
    done: TEXT.posted,
    // The response of a write has every member of an activity but the reader's own.
    sent: (activity) => list.merge([{...activity, liked: false, reposted: false}]),
  });
}

// Ask whether the first page has changed, update its counters, and offer what is new.
async function showNews(list, news, view, isFollowing) {
  const isPersonal = session.isSignedIn() && !isFollowing;
  const result = await request("GET", list.path, {signal: view.signal, etag: list.seen, isAnonymous: !isFollowing});
  if (!result.isModified) return;
  list.seen = result.etag;
  // Everyone's page has changed. The user's own leaves out what the user mutes or blocks.
  const rows = isPersonal ? (await request("GET", list.path, {signal: view.signal})).data : result.data;
  for (const row of rows) if (list.has(row)) changed(row.uuid, row);
  // An unknown row after the last known one was on the second page before: another one has disappeared.
  const last = rows.findLastIndex((row) => list.has(row));
  const fresh = rows.slice(0, last < 0 ? rows.length : last).filter((row) => !list.has(row));
  showButton(list, news, view, fresh, rows);
}

function showButton(list, news, view, fresh, rows) {
  if (!fresh.length) return news.replaceChildren();
  const text = TEXT.newCruds(fresh.length, fresh.length >= FIRST_PAGE);
  const isSame = news.textContent === text;
  const click = async () => {
    news.replaceChildren();
    // Between a whole page of new rows and the old ones there may be others.
    if (fresh.length === rows.length) await optional(list.load());
    else list.merge(rows);
    if (!view.isShown) return;
    list.list.querySelector("a")?.focus();
    scrollTo(0, 0);
  };
  // The number may be the same while the rows are others.
  keepFocus(news, () => news.replaceChildren(button(text, click, {class: "primary", "data-action": "news"})));
  if (!isSame) announce(text);
}

// Trends, and for a signed-in user whom to follow. The page does without them where they fail.
function aside(view) {
  const element = el("aside", {"aria-label": TEXT.discover});
  const section = async (path, title, item) => {
    // Whichever response comes first, the sections keep their order.
    const place = el("section");
    element.append(place);
    const rows = (await optional(request("GET", path, {signal: view.signal})))?.data ?? [];
    if (rows.length) place.append(el("h2", {}, title), el("ul", {}, rows.map((row) => el("li", {}, item(row)))));
  };
  const trend = ({hashtag, people}) => [
    link(`tags/${encodeURIComponent(hashtag)}`, {}, el("bdi", {}, `#${hashtag}`)),
    " ",
    el("span", {class: "note"}, TEXT.trendPeople(people)),
  ];
  section("api/trends", TEXT.trends, trend);
  if (session.isSignedIn()) section("api/users/suggested", TEXT.suggested, userLink);
  return element;
}
