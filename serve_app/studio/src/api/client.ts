// The API, with the types of its OpenAPI document (`make studio` writes schema.d.ts).
import createFetchClient, { type Middleware } from "openapi-fetch";
import createQueryHooks from "openapi-react-query";

import { PAGE_HEADERS, takeEarly } from "./early";
import type { paths } from "./schema";

const SESSION = "/v1/session";

type Listener = () => void;
const listeners = new Set<Listener>();
/** Calls back when an answer says that the session has ended. Returns a function that stops it. */
export function onSessionEnded(listener: Listener): Listener {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
export function sessionEnded(): void {
  for (const listener of listeners) listener();
}

const watchSession: Middleware = {
  onResponse({ response, schemaPath }) {
    if (response.status === 401 && schemaPath !== SESSION) sessionEnded();
  },
};

export const client = createFetchClient<paths>({
  baseUrl: typeof location === "undefined" ? "" : location.origin,
  headers: PAGE_HEADERS,
  fetch: (request) => takeEarly(request) ?? globalThis.fetch(request), // looked up at each call, for tests
});
client.use(watchSession);

/** Hooks: `$api.useQuery("get", "/v1/jobs/{id}", { params: { path: { id } } })`. Errors are problems: see problem.ts. */
export const $api = createQueryHooks(client);
