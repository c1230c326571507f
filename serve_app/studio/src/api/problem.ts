// Errors as the API gives them (RFC 9457), and what to do about each.
import type { Problem as Answer } from "./schema";

/** A problem; the members beside the first five are there for some codes only. */
export type Problem = Pick<Answer, "type" | "title" | "status" | "code" | "detail"> & Partial<Answer>;

/** The problem of whatever was thrown: an answer of the API, an answer without a body, or a server that is gone. */
export function toProblem(error: unknown): Problem {
  if (isProblem(error)) return error;
  if (error instanceof TypeError || error instanceof DOMException) {
    return made("unreachable", 0, "No answer", "The server does not answer. It may be starting, or the network is down.");
  }
  if (typeof error === "string" && error.trim() !== "") {
    return made("not_ready", 503, "Not ready", error.trim().slice(0, 500)); // Ray Serve itself answers in plain text
  }
  if (error instanceof Error) return made("page_error", 0, "A fault of this page", error.message);
  return made("no_answer", 0, "No answer", "The server answered without a reason.");
}

function isProblem(error: unknown): error is Problem {
  return typeof error === "object" && error !== null && "detail" in error && "code" in error && "status" in error;
}
function made(code: string, status: number, title: string, detail: string): Problem {
  return { type: `urn:raylens:problem:${code}`, title, status, code, detail };
}

const ADVICE: Record<string, string> = {
  unreachable: "Is the cluster up? `python -m cluster status` says so. This page tries again by itself.",
  not_ready: "The server is starting. This page tries again by itself.",
  not_authenticated: "Sign in with a token, or with a new link: `python -m serve_app sign-in`.",
  session_ended: "Sign in again with a token, or with a new link: `python -m serve_app sign-in`.",
  code_not_valid: "Get a new link with `python -m serve_app sign-in`.",
  insufficient_scope: "Sign in with a token that has the scope `write`.",
  origin_not_allowed: "Open the page at the server's own address.",
  invalid_request: "Change the fields that are named, and send it again.",
  cannot_fit: "Ask for less, or add nodes to the cluster.",
  in_use: "Delete what was made from it first.",
  name_taken: "Choose another name.",
  not_found: "It may have been deleted. Go back to the list.",
  store_full: "Make room: delete artifacts that are not needed, or run the stage `maintain`.",
  catalog_unavailable: "The catalog's database does not answer. This page tries again by itself.",
  store_unavailable: "The store does not answer. Check the disk or the S3 service.",
  too_many_requests: "The server is busy. This page tries again by itself.",
  too_many_streams: "Too many pages are open. Close some.",
  no_capacity: "Wait until the jobs that use the memory have ended.",
  no_cluster: "Start a cluster: `python -m cluster up`.",
  source_unreachable: "Check the network, or try again later.",
  internal_error: "The server's log has the details; please report it.",
};

/** What to do, in one sentence; null where the detail says it already. */
export function adviceFor(problem: Problem): string | null {
  return ADVICE[problem.code] ?? null;
}

/** Whether the same request may succeed in a moment. */
export function isPassing(problem: Problem): boolean {
  return problem.status === 0 ? problem.code === "unreachable" : problem.status === 502 || problem.status === 503;
}

/** The faults by field, with `where` as the form's own path: `body.saes.0.k` is `saes.0.k`. */
export function faultsOf(problem: Problem): Map<string, string> {
  const faults = new Map<string, string>();
  for (const fault of problem.errors ?? []) {
    const where = (fault["where"] ?? "").replace(/^body\.?/, "");
    if (!faults.has(where)) faults.set(where, fault["detail"] ?? "");
  }
  return faults;
}
