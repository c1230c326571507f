// Answers of the API for tests of components: `answer("GET /v1/jobs", { items: [], next: null })`.
import { afterEach, vi } from "vitest";

export interface Call {
  method: string;
  path: string;
  query: URLSearchParams;
  body: unknown;
  headers: Headers;
}
type Answer = unknown | ((call: Call) => Response | Promise<Response>);

const answers = new Map<string, Answer>();
export const calls: Call[] = [];

/** Answers requests for "METHOD /path" (without its query) by a value as JSON, or by a function that gives a Response. */
export function answer(route: string, value: Answer): void {
  answers.set(route, value);
}

export const json = (value: unknown, status = 200): Response =>
  new Response(JSON.stringify(value), { status, headers: { "Content-Type": "application/json" } });

export const problem = (status: number, code: string, detail: string, more: object = {}): Response =>
  json({ type: `urn:raylens:problem:${code}`, title: code, status, code, detail, ...more }, status);

const sent = (text: string, headers: Headers): unknown => (text === "" ? undefined : headers.get("Content-Type") === "application/json" ? JSON.parse(text) : text);

vi.stubGlobal("fetch", async (input: Request | string, init?: RequestInit) => {
  const request = typeof input === "string" ? new Request(new URL(input, "http://localhost"), init) : input;
  const { pathname: path, searchParams: query } = new URL(request.url);
  const text = await request.clone().text();
  const call = { method: request.method, path, query, body: sent(text, request.headers), headers: request.headers };
  calls.push(call);
  const found = answers.get(`${call.method} ${path}`);
  if (found === undefined) return problem(404, "not_found", `there is no ${path}`);
  return typeof found === "function" ? found(call) : json(found);
});

afterEach(() => {
  answers.clear();
  calls.length = 0;
});
