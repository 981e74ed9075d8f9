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
  await markAsRead(await list.load());
  view.poll(POLL_SECONDS, async () => {
    const {isModified, etag, data} = await request("GET", list.path, {signal: view.signal, etag: list.etag});
    if (!isModified) return;
    list.etag = etag;
    // Between a whole page of new rows and the old ones there may be others.
    if (data.some((row) => list.has(row))) list.merge(data);
    else await list.load();
    await markAsRead(data);
  });
}

async function markAsRead([newest]) {
  if (!newest) return;
  if (await optional(request("PUT", "api/notifications/read", {body: {until: newest.created_at}}))) setUnread(0);
}
