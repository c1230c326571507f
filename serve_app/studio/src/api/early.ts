// Requests that are sent before the libraries have been evaluated: the first page then waits for neither, one after the other.
//
// `app/startEarly.ts` sends them. The client takes each answer once, for a request of the same address; what nothing takes is
// dropped. A page that is not listed works all the same, a moment later.

/** The server wants it on reads where the browser does not say that a request comes from its own page. */
export const PAGE_HEADERS = { "X-RayLens-Page": "1" };
const KEPT_MS = 10_000; // an answer that nobody has taken is older than what a page may show

/** What a page reads first, by its path: word for word what its queries ask for (a test compares them). */
export const FIRST_READS: Record<string, string[]> = {
  "/": ["/v1/cluster", "/v1/jobs?state=RUNNING&state=WAITING&state=QUEUED&state=CANCELLING&limit=20", "/v1/artifacts?limit=12"],
};

const answers = new Map<string, Promise<Response>>();

/** Sends the requests of the page at `path`, and the one that says who is signed in. */
export function askEarly(path: string): void {
  if (path === "/sign-in") return;
  for (const url of ["/v1/session", ...(FIRST_READS[path] ?? [])]) {
    const answer = fetch(url, { headers: PAGE_HEADERS });
    answer.catch(() => undefined); // whoever takes it has the error
    answers.set(url, answer);
  }
  setTimeout(() => answers.clear(), KEPT_MS);
}

/** The answer to a request if it was asked for early, once. */
export function takeEarly(request: Request): Promise<Response> | undefined {
  const { pathname, search } = new URL(request.url);
  const answer = request.method === "GET" ? answers.get(pathname + search) : undefined;
  if (answer) answers.delete(pathname + search);
  return answer;
}
