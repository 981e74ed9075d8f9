// Signing in: Cognito's managed login, or a link of bin/dev. Tokens stay in this tab's sessionStorage.

import {button, el, showDialog} from "./dom.js";
import {TEXT} from "./strings.js";

const {signIn: KIND, domain: DOMAIN, clientId: CLIENT_ID} = document.documentElement.dataset;
// GetUser, which the service calls for a new user, needs the second scope.
const SCOPE = "openid aws.cognito.signin.user.admin";
// Refresh a token this long before its end.
const MARGIN = 30_000;
const SESSION = "cruddur.session";
const ATTEMPT = "cruddur.sign-in";
// The page to return to after signing out and in again.
const AGAIN = "cruddur.sign-in-again";
const DRAFT = "cruddur.draft.";

let session = load(SESSION);
// While the account is being deleted, refused tokens do not end the sign-in: the deletion may be refused.
let isLeaving = false;
let refreshing = null;

// "end": the user is no longer signed in. "expire" precedes an end that the user did not ask for. "user": the user is
// known, or has another name.
export const events = new EventTarget();
export const user = () => session?.user ?? null;
export const isSignedIn = () => session !== null;
export const isMe = (handle) => user()?.handle.toLowerCase() === handle.toLowerCase();

export const setLeaving = (value) => (isLeaving = value);

function load(key) {
  return JSON.parse(sessionStorage.getItem(key));
}

function save(value) {
  session = value;
  sessionStorage.setItem(SESSION, JSON.stringify(session));
}

export function setUser(user) {
  save({...session, user});
  events.dispatchEvent(new Event("user"));
}

// Forget the tokens: the user signs out, or they are no longer accepted.
export function end({isExpired = true} = {}) {
  if (!session) return;
  if (isExpired) events.dispatchEvent(new Event("expire"));
  session = null;
  sessionStorage.removeItem(SESSION);
  events.dispatchEvent(new Event("end"));
}

// Return a token that is still valid, or null. A token that cannot be refreshed for lack of a network stays.
export async function accessToken() {
  if (session?.refreshToken && Date.now() > session.expiresAt - MARGIN) {
    refreshing ??= refresh().finally(() => (refreshing = null));
    await refreshing;
  }
  return session?.accessToken ?? null;
}

async function refresh() {
  const {refreshToken} = session;
  // The user may sign out meanwhile.
  const isCurrent = () => session?.refreshToken === refreshToken;
  try {
    const tokens = await requestTokens({grant_type: "refresh_token", refresh_token: refreshToken});
    if (isCurrent()) save({...session, ...tokens});
  } catch (error) {
    if (!(error instanceof TypeError) && isCurrent()) end();
  }
}

// After a refused token, return another one, or null: a clock that was set hides the end of a token. Ends the sign-in
// when no token is left.
export async function replaceToken(refused) {
  if (isLeaving) return null;
  if (session?.accessToken !== refused) return session?.accessToken ?? null;
  if (!session.refreshToken) {
    end();
    return null;
  }
  session.expiresAt = 0;
  const token = await accessToken();
  return token === refused ? null : token;
}

// Call Cognito's token endpoint (RFC 6749, section 4.1.3). Throws TypeError without a network, else Error.
async function requestTokens(parameters) {
  const response = await fetch(`${DOMAIN}/oauth2/token`, {
    method: "POST",
    body: new URLSearchParams({client_id: CLIENT_ID, ...parameters}),
    credentials: "omit",
  });
  if (response.status >= 500 || response.status === 429) throw new TypeError("Cognito failed");
  if (!response.ok) throw new Error("Cognito refused");
  const {access_token: accessToken, refresh_token: refreshToken, expires_in: seconds} = await response.json();
  return {accessToken, expiresAt: Date.now() + seconds * 1000, ...(refreshToken && {refreshToken})};
}

// Take what the address brings: a code of Cognito, or in development a token. Returns the path to show, and an error.
export async function arrive(root) {
  const {searchParams, hash} = new URL(location.href);
  const token = new URLSearchParams(hash.slice(1)).get("token");
  if (token) {
    // With a user pool the page ignores the fragment, so that no link changes the signed-in user.
    if (KIND === "development") save({accessToken: token});
    history.replaceState(null, "", location.pathname + location.search);
  }
  const again = sessionStorage.getItem(AGAIN);
  sessionStorage.removeItem(AGAIN);
  if (again) await signIn(root, again);
  const state = searchParams.get("state");
  if (KIND !== "cognito" || !state) return {};
  const attempt = load(ATTEMPT);
  sessionStorage.removeItem(ATTEMPT);
  // A response to a request of another page is no answer to this one (RFC 6749, section 10.12).
  if (attempt?.state !== state) return {path: root};
  try {
    const code = searchParams.get("code") ?? "";
    const parameters = {grant_type: "authorization_code", redirect_uri: root, code_verifier: attempt.verifier, code};
    save(await requestTokens(parameters));
    return {path: attempt.path};
  } catch {
    return {path: attempt.path, error: TEXT.signInFailed};
  }
}

// Go to the login page, and come back to `path`. Without a login page, say how to sign in.
export async function signIn(root, path = location.href) {
  if (KIND !== "cognito") {
    const text = KIND === "development" ? TEXT.signInDevelopment : TEXT.signInMissing;
    await showDialog(TEXT.signIn, el("p", {}, text));
    return;
  }
  // PKCE (RFC 7636): only this page can use the code.
  const [state, verifier] = [randomText(), randomText()];
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  sessionStorage.setItem(ATTEMPT, JSON.stringify({state, verifier, path}));
  const query = new URLSearchParams({
    response_type: "code",
    client_id: CLIENT_ID,
    redirect_uri: root,
    scope: SCOPE,
    state,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: "S256",
  });
  location.assign(`${DOMAIN}/oauth2/authorize?${query}`);
}

// Say why signing in is needed, and sign in if the user agrees.
export async function ask(root, text, agreed = () => signIn(root)) {
  const agree = button(TEXT.signIn, (event) => event.target.closest("dialog").close("yes"), {class: "primary"});
  if ((await showDialog(TEXT.signIn, el("p", {}, text), [agree])) === "yes") await agreed();
}

// Sign out, and in again with the password: the service wants a sign-in of the last minutes.
export async function signInAgain(root) {
  if (KIND !== "cognito") {
    const text = KIND === "development" ? TEXT.signInAgainDevelopment : TEXT.signInAgain;
    await showDialog(TEXT.signIn, el("p", {}, text));
    return;
  }
  await ask(root, TEXT.signInAgain, () => {
    sessionStorage.setItem(AGAIN, location.href);
    return signOut(root);
  });
}

// Forget the tokens here and at Cognito, whose login page would sign in again without a password.
export async function signOut(root) {
  const refreshToken = session?.refreshToken;
  forgetDrafts();
  end({isExpired: false});
  isLeaving = false;
  if (KIND !== "cognito") return;
  const body = new URLSearchParams({client_id: CLIENT_ID, token: refreshToken ?? ""});
  await fetch(`${DOMAIN}/oauth2/revoke`, {method: "POST", body, credentials: "omit", keepalive: true}).catch(() => {});
  location.assign(`${DOMAIN}/logout?${new URLSearchParams({client_id: CLIENT_ID, logout_uri: root})}`);
}

// Return the name of a draft in sessionStorage. The next user of a tab must not see the draft of this one.
export const draftKey = (draft) => `${DRAFT}${user()?.uuid}.${draft}`;

function forgetDrafts() {
  Object.keys(sessionStorage)
    .filter((key) => key.startsWith(DRAFT))
    .forEach((key) => sessionStorage.removeItem(key));
}

export function randomText() {
  return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
