// A profile: a user's activities and reposts, and what the current user can do about this user.

import {act, activityList} from "./activity.js";
import {loadModule, read, request} from "./api.js";
import {forgetOtherViews} from "./app.js";
import {announce, button, confirmed, el, keepFocus, link} from "./dom.js";
import * as session from "./session.js";
import {TEXT} from "./strings.js";

// Open a dialog of users.js.
const open = async (dialog, ...values) => (await loadModule("users"))[dialog](...values);

export async function render(view, [, handle]) {
  view.heading = `@${handle}`;
  view.notFound = TEXT.noUser;
  const isMine = session.isMe(handle);
  const isLiked = isMine && view.url.searchParams.get("list") === "liked";
  const profileList = activityList({
    // The list of liked activities takes the place of this one, which then has the profile alone.
    path: `api/activities/@${handle}?reposts=true${isLiked ? "&limit=1" : ""}`,
    view,
    label: TEXT.cruds,
    empty: TEXT.emptyProfile,
    rows: ({activities}) => activities,
  });
  const {profile} = await profileList.load();
  const likedList = isLiked && activityList({path: "api/activities/liked", view, label: TEXT.liked, empty: TEXT.emptyLiked});
  if (likedList) await likedList.load();
  const actions = el("div", {class: "actions"});
  const head = el("section", {class: "card profile", "aria-label": TEXT.profile});
  const showHead = (profile) => keepFocus(head, () => head.replaceChildren(...headParts(profile, view), actions));
  showHead(profile);
  view.element.append(head, isMine ? tabs(profile.handle, isLiked) : "", (likedList || profileList).element);
  if (isMine) showOwnActions(actions, profile, view, showHead);
  else if (session.isSignedIn()) await showActions(actions, profile, view, showHead);
}

function headParts(profile, view) {
  view.heading = profile.display_name;
  const base = `api/users/@${profile.handle}`;
  const list = (text, title, path) => button(text, () => open("showUsers", title, path, view), {class: "text"});
  return [
    el("h1", {}, el("bdi", {}, profile.display_name)),
    el("p", {class: "handle"}, `@${profile.handle}`),
    el("p", {class: "message", dir: "auto"}, profile.bio ?? ""),
    el(
      "p",
      {class: "lists"},
      el("span", {}, TEXT.countedCruds(profile.cruds_count)),
      list(TEXT.countedFollowers(profile.followers_count), TEXT.followers, `${base}/followers`),
      list(TEXT.countedFollowing(profile.following_count), TEXT.following, `${base}/following`),
    ),
  ];
}

function tabs(handle, isLiked) {
  const tab = (path, text, isHere) => link(path, {"aria-current": isHere && "true"}, text);
  const links = [tab(`@${handle}`, TEXT.cruds, !isLiked), tab(`@${handle}?list=liked`, TEXT.liked, isLiked)];
  return el("nav", {class: "tabs", "aria-label": TEXT.profile}, links);
}

function showOwnActions(actions, profile, view, showHead) {
  actions.replaceChildren(
    button(TEXT.edit, () => edit(profile, showHead)),
    button(TEXT.mutedUsers, () => open("showUsers", TEXT.mutedUsers, "api/users/muted", view)),
    button(TEXT.blockedUsers, () => open("showUsers", TEXT.blockedUsers, "api/users/blocked", view)),
    link("account", {class: "button"}, TEXT.account),
  );
}

// Change the name and the text about the user.
function edit(profile, showHead) {
  const name = el("input", {name: "display_name", value: profile.display_name, autocomplete: "name"});
  const bio = el("textarea", {name: "bio", rows: "3", dir: "auto"}, profile.bio ?? "");
  const save = async () => {
    const body = {display_name: name.value, bio: bio.value || null};
    const {data} = await request("PUT", "api/profile/update", {body});
    Object.assign(profile, data, {bio: body.bio});
    session.setUser(data);
    showHead(profile);
    announce(TEXT.saved);
  };
  return open("showForm", TEXT.edit, [el("label", {}, TEXT.name, name), el("label", {}, TEXT.bio, bio)], TEXT.save, save);
}

// Follow, message, mute, block, report: by the relationship as it is now.
async function showActions(actions, profile, view, showHead) {
  const {data} = await read(`api/users/relationships?handles=${profile.handle}`, {signal: view.signal});
  const base = `api/users/@${profile.handle}`;
  let [known] = data;
  // Follows, mutes and blocks change the counts of the profile, and what other pages show.
  const showChange = (before, after) => {
    if (before.muting !== after.muting || before.blocking !== after.blocking) forgetOtherViews();
    profile.followers_count += after.following - before.following;
    profile.following_count += after.followed_by - before.followed_by;
    showHead(profile);
  };
  const render = (relationship) => {
    if (!relationship) return;
    const {following, followed_by: isFollower, muting, blocking} = relationship;
    const change = (changed) => {
      if (!changed) return;
      showChange(known, changed);
      known = changed;
      render(changed);
    };
    const write = async (isOn, verb) => change(await act(isOn ? "DELETE" : "PUT", `${base}/${verb}`));
    const mute = async () => {
      if (muting) return write(true, "mute");
      let changed = null;
      const put = async (body) => (changed = (await request("PUT", `${base}/mute`, {body})).data);
      // The closing dialog returns the focus to a button that must still be there.
      if ((await open("muteForm", put)) === "yes") change(changed);
    };
    const block = async () => {
      if (blocking || (await confirmed(TEXT.blockQuestion(profile.handle), TEXT.block))) await write(blocking, "block");
    };
    const focused = [...actions.children].indexOf(document.activeElement);
    actions.replaceChildren(
      button(following ? TEXT.unfollow : TEXT.follow, () => write(following, "follow"), {class: following ? "" : "primary", disabled: blocking}),
      link(`messages/@${profile.handle}`, {class: "button"}, TEXT.sendMessage),
      button(muting ? TEXT.unmute : TEXT.mute, mute),
      button(blocking ? TEXT.unblock : TEXT.block, block),
      button(TEXT.report, () => open("report", {handle: profile.handle})),
      isFollower ? el("span", {class: "note"}, TEXT.followsYou) : "",
      blocking ? el("span", {class: "note"}, TEXT.youBlock) : "",
    );
    actions.children[focused]?.focus();
  };
  render(known);
}
