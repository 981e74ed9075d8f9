// One activity and its replies.

import {activityCard, activityList, changed} from "./activity.js";
import {loadModule} from "./api.js";
import {el} from "./dom.js";
import * as session from "./session.js";
import {TEXT} from "./strings.js";

export async function render(view, [, handle, uuid]) {
  view.notFound = TEXT.gone;
  view.notFoundReason = TEXT.goneReason;
  view.heading = TEXT.crudBy(`@${handle}`);
  const list = activityList({
    path: `api/activities/@${handle}/status/${uuid}`,
    view,
    label: TEXT.replies,
    empty: TEXT.noReplies,
    isReply: true,
    rows: ({replies}) => replies,
  });
  const {composer} = await loadModule("compose", view.signal);
  const {activity} = await list.load();
  view.heading = TEXT.crudBy(activity.display_name);
  const card = activityCard(activity, view, {isMain: true});
  const reply = composer({
    view,
    draft: `reply.${uuid}`,
    title: TEXT.replyTo,
    path: `api/activities/${uuid}/reply`,
    limit: 1024,
    action: TEXT.reply,
    done: TEXT.posted,
    sent: (created) => {
      // Replies are listed oldest first.
      list.append({data: {replies: [{...created, liked: false, reposted: false}]}, next: list.next});
      changed(activity.uuid, {replies_count: ++activity.replies_count});
    },
  });
  view.element.append(
    el("h1", {}, TEXT.crudBy(""), el("bdi", {}, activity.display_name)),
    card,
    session.isSignedIn() ? reply : el("p", {class: "note"}, TEXT.needsSignInToPost),
    el("h2", {}, TEXT.replies),
    list.element,
  );
  // Replies end with their activity.
  view.element.addEventListener("left", ({detail}) => {
    if (detail === card) showGone(view);
    else changed(activity.uuid, {replies_count: --activity.replies_count});
  });
}

function showGone(view) {
  view.heading = TEXT.gone;
  view.element.replaceChildren(el("div", {class: "message-page"}, el("h1", {}, TEXT.gone), el("p", {}, TEXT.goneReason)));
}
