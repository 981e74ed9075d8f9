// Notifications of the current user. The newest one shown becomes the marker of what is read.

import {activityCard, PagedList} from "./activity.js";
import {optional, request} from "./api.js";
import {setUnread} from "./app.js";
import {el, userLink} from "./dom.js";
import {TEXT} from "./strings.js";

const POLL_SECONDS = 20;

export async function render(view) {
  view.heading = TEXT.notifications;
  const item = ({kind, user, activity}) =>
    el("div", {class: "notification"}, el("p", {class: "note"}, userLink(user), ` ${TEXT.notificationKinds[kind]}`), activity && activityCard(activity, view));
  const list = new PagedList({path: "api/notifications", view, item, label: TEXT.notifications, empty: TEXT.noNotifications});
  view.element.append(el("h1", {}, TEXT.notifications), list.element);
  let newest, marked;
  // The user sees nothing of a view that loads while another one is on the page.
  const markAsRead = async () => {
    if (newest === marked || !view.isShown || document.hidden) return;
    const until = newest;
    if (!(await optional(request("PUT", "api/notifications/read", {body: {until}})))) return;
    marked = until;
    setUnread(0);
  };
  newest = (await list.load())[0]?.created_at;
  await markAsRead();
  view.poll(POLL_SECONDS, async () => {
    await markAsRead();
    const {isModified, etag, data} = await request("GET", list.path, {signal: view.signal, etag: list.etag});
    if (!isModified) return;
    list.etag = etag;
    // Between a whole page of new rows and the old ones there may be others.
    if (data.some((row) => list.has(row))) list.merge(data);
    else await list.load();
    newest = data[0]?.created_at ?? newest;
    await markAsRead();
  });
}
