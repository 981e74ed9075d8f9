// Conversations: their list, and the messages of one.

import {age, countdown, leave} from "./activity.js";
import {loadModule, optional, read, request, ROOT} from "./api.js";
import {goTo} from "./app.js";
import {announce, button, el, keepFocus, link, name, richText, userLink} from "./dom.js";
import * as session from "./session.js";
import {TEXT} from "./strings.js";

const LIST_POLL_SECONDS = 10;
const POLL_SECONDS = 3;
const UUID_LENGTH = 36;
// The handles of deleted users, which belong to no profile.
const DELETED = "deleted_";

export function render(view, [path, receiver]) {
  if (path === "messages") return renderConversations(view);
  view.notFound = TEXT.noConversation;
  return receiver.length === UUID_LENGTH ? renderConversation(view, receiver) : renderNewConversation(view, receiver);
}

async function renderConversations(view) {
  view.heading = TEXT.conversations;
  const list = el("ul", {class: "feed"});
  view.element.append(el("h1", {}, TEXT.conversations), list);
  let seen = null;
  const load = async (run) => {
    const {isModified, etag, data} = await run("api/message_groups", {signal: view.signal, etag: seen});
    if (!isModified) return;
    seen = etag;
    keepFocus(list, () => list.replaceChildren(...data.map(conversation)));
    if (!data.length) list.replaceChildren(el("li", {class: "empty"}, TEXT.noConversations));
  };
  await load(read);
  view.poll(LIST_POLL_SECONDS, () => load((path, options) => request("GET", path, options)));
}

// After the end of its last message, a conversation shows no message until the next poll knows the one before.
function conversation(group) {
  const excerpt = el("p", {class: "message excerpt", dir: "auto"}, group.message);
  const time = el(
    "span",
    {},
    el("time", {datetime: group.created_at}, age(group.created_at)),
    group.expires_at && " · ",
    group.expires_at && countdown(group),
  );
  const item = el(
    "li",
    {class: "card"},
    link(`messages/${group.uuid}`, {}, name(group), " ", el("span", {class: "handle"}, `@${group.handle}`)),
    " ",
    time,
    group.unread_count > 0 && el("strong", {class: "unread"}, TEXT.unread(group.unread_count)),
    excerpt,
  );
  item.addEventListener("expire", () => [time, excerpt].forEach((each) => each.remove()));
  return item;
}

// Write the first message to a user. A pair has one conversation for ever: an existing one opens instead.
async function renderNewConversation(view, handle) {
  const {composer} = await loadModule("compose", view.signal);
  if (!session.isSignedIn()) await request("GET", "api/message_groups");
  const [{data: user}, {data: groups}] = await Promise.all([
    read(`api/users/@${handle}/short`, {signal: view.signal}),
    read("api/message_groups", {signal: view.signal}),
  ]);
  const known = groups.find((group) => group.handle === user.handle);
  if (known) {
    if (view.isShown) history.replaceState(history.state, "", new URL(`messages/${known.uuid}`, ROOT));
    return renderConversation(view, known.uuid);
  }
  view.heading = user.display_name;
  const form = composer({
    view,
    draft: `message.${user.handle}`,
    title: TEXT.newMessage,
    path: "api/messages",
    limit: 1024,
    hasTTL: true,
    canStay: true,
    extra: {handle: user.handle},
    action: TEXT.send,
    done: TEXT.sent,
    sent: ({message_group_uuid: uuid}) => view.isShown && goTo(`messages/${uuid}`),
  });
  view.element.append(el("h1", {}, TEXT.conversationWith, " ", userLink(user)), form);
}

async function renderConversation(view, uuid) {
  const {composer} = await loadModule("compose", view.signal);
  const path = `api/messages/${uuid}`;
  const [first, {data: groups}] = await Promise.all([
    read(path, {signal: view.signal}),
    read("api/message_groups", {signal: view.signal}),
  ]);
  // The list of conversations has the 20 latest. Else the messages name the other member.
  const other = groups.find((group) => group.uuid === uuid) ?? first.data.find(({handle}) => !session.isMe(handle));
  const items = new Map();
  const list = el("ol", {class: "conversation"});
  let {next, etag} = first;
  // The time of the oldest loaded message, which may have disappeared.
  let oldest;
  const older = button(TEXT.older, loadOlder, {hidden: !next, class: "more"});

  function add(messages, place) {
    const added = messages.filter((message) => !items.has(message.uuid));
    for (const message of added) {
      items.set(message.uuid, bubble(message));
      if (!(oldest < timeOf(message))) oldest = timeOf(message);
    }
    place(added.map((message) => items.get(message.uuid)));
    return added;
  }

  async function loadOlder() {
    if (older.ariaDisabled) return;
    older.ariaDisabled = "true";
    const result = await optional(read(next, {signal: view.signal}));
    older.ariaDisabled = null;
    if (!result) return;
    next = result.next;
    older.hidden = !next;
    const before = document.documentElement.scrollHeight;
    add(result.data, (added) => list.prepend(...added));
    if (view.isShown) scrollBy(0, document.documentElement.scrollHeight - before);
  }

  // Return the messages of a page, and the older ones back to a known message. As messages disappear, a page has others
  // that are older than all loaded ones: the button loads these.
  async function untilKnown({data, next}) {
    const isOlder = (message) => timeOf(message) < oldest;
    const isKnown = (message) => items.has(message.uuid) || isOlder(message);
    if (!next || data.some(isKnown)) return data.filter((message) => !isOlder(message));
    return [...(await untilKnown(await request("GET", next, {signal: view.signal}))), ...data];
  }

  async function showNew() {
    await markAsRead();
    const result = await request("GET", path, {signal: view.signal, etag});
    if (!result.isModified) return;
    const received = add(await untilKnown(result), (added) => list.append(...added));
    etag = result.etag;
    if (received.length) list.lastChild?.scrollIntoView({block: "nearest"});
    await markAsRead(received);
  }

  let unmarked = null;
  // The user sees nothing of a view that loads while another one is on the page.
  const markAsRead = async (messages = []) => {
    unmarked = messages.findLast(({handle}) => !session.isMe(handle)) ?? unmarked;
    if (!unmarked || !view.isShown || document.hidden) return;
    const last = unmarked;
    const result = await optional(request("PUT", `${path}/read`, {body: {until: last.created_at}}));
    if (result && unmarked === last) unmarked = null;
  };
  const writer = () => composer({
    view,
    draft: `message.${uuid}`,
    title: TEXT.newMessage,
    path: "api/messages",
    limit: 1024,
    hasTTL: true,
    canStay: true,
    extra: {message_group_uuid: uuid},
    action: TEXT.send,
    done: TEXT.sent,
    // The next poll shows the message too.
    sent: () => optional(showNew()),
  });
  const isDeleted = other?.handle.startsWith(DELETED);
  const form = isDeleted ? el("p", {class: "note"}, TEXT.memberDeleted) : writer();
  const nameOf = isDeleted ? name : userLink;
  view.heading = other?.display_name ?? TEXT.messages;
  const heading = el("h1", {}, TEXT.conversationWith, " ", other ? nameOf(other) : "");
  view.element.append(heading, older, el("div", {role: "log", "aria-label": TEXT.messages}, list), form);
  add(first.data, (added) => list.append(...added));
  form.scrollIntoView({block: "nearest"});
  await markAsRead(first.data);
  view.poll(POLL_SECONDS, showNew);
}

// The time as text that compares to the microsecond. The service writes all times in UTC.
const timeOf = ({created_at: time}) => time.replace("+00:00", "");

function bubble(message) {
  const isMine = session.isMe(message.handle);
  const item = el(
    "li",
    {class: isMine ? "bubble mine" : "bubble"},
    el(
      "p",
      {class: "note"},
      name(message),
      " · ",
      el("time", {datetime: message.created_at}, age(message.created_at)),
      message.expires_at && " · ",
      message.expires_at && countdown(message),
    ),
    el("p", {class: "message", dir: "auto"}, richText(message.message)),
  );
  item.addEventListener("expire", () => {
    if (leave(item)) announce(TEXT.messageGoneFromPage);
  });
  return item;
}
