// Keeps what pages show up to date: events of jobs change the queries that TanStack Query has in memory.
import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useCallback, useContext, useEffect, useMemo, useRef, useState } from "react";

import { sessionEnded } from "../api/client";
import { PAGE_HEADERS } from "../api/early";
import type { Event, Job, JobSummary, PageJobSummary } from "../api/schema";
import { Feed, type FeedMessage, type FeedState } from "./feed";

type Handler = (message: FeedMessage) => void;
interface Live {
  state: FeedState;
  subscribe: (handler: Handler) => () => void;
}
const Context = createContext<Live>({ state: "connecting", subscribe: () => () => undefined });
const HIDDEN_MS = 60_000; // a tab that nobody looks at gives its connection back

export function useFeedState(): FeedState {
  return useContext(Context).state;
}

/** Calls `handler` with each event of `job`, or of all jobs: `state` and `log` (an Event), `progress` (a JobSummary). */
export function useLiveEvents(job: string | null, handler: (event: Event | JobSummary, kind: string) => void): void {
  const { subscribe } = useContext(Context);
  const latest = useRef(handler);
  useEffect(() => {
    latest.current = handler;
  });
  useEffect(
    () =>
      subscribe(({ event, data }) => {
        const found = data as Event & JobSummary;
        if (job === null || (event === "progress" ? found.id : found.job) === job) latest.current(found, event);
      }),
    [subscribe, job],
  );
}

export function LiveProvider({ children }: { children: ReactNode }) {
  const queries = useQueryClient();
  const [state, setState] = useState<FeedState>("connecting");
  const handlers = useRef(new Set<Handler>());
  useEffect(() => {
    const refresh = later(queries);
    const feed = new Feed({
      open: (after, signal) =>
        fetch("/v1/events/stream", {
          headers: { ...PAGE_HEADERS, ...(after === null ? {} : { "Last-Event-ID": after }) },
          signal,
          cache: "no-store",
        }),
      poll: async () => {
        const answer = await fetch("/v1/health", { cache: "no-store" });
        if (!answer.ok) throw new TypeError("no answer");
        await queries.invalidateQueries({ predicate: ({ queryKey }) => isLive(queryKey) });
      },
      message: (message) => {
        applyMessage(queries, message, refresh);
        for (const handler of handlers.current) handler(message);
      },
      state: setState,
      opened: () => void queries.invalidateQueries({ predicate: ({ queryKey }) => isLive(queryKey) }),
      ended: sessionEnded,
    });
    feed.start();
    let hiding: ReturnType<typeof setTimeout> | undefined;
    const visibility = () => {
      clearTimeout(hiding);
      if (!document.hidden) feed.start();
      else
        hiding = setTimeout(() => {
          feed.stop();
          setState("paused");
        }, HIDDEN_MS);
    };
    document.addEventListener("visibilitychange", visibility);
    return () => {
      document.removeEventListener("visibilitychange", visibility);
      clearTimeout(hiding);
      feed.stop();
    };
  }, [queries]);
  const subscribe = useCallback((handler: Handler) => {
    handlers.current.add(handler);
    return () => void handlers.current.delete(handler);
  }, []);
  const live = useMemo<Live>(() => ({ state, subscribe }), [state, subscribe]);
  return <Context.Provider value={live}>{children}</Context.Provider>;
}

type Refresh = (path: string) => void;

/** Changes the queries by one event. `refresh` reads the paths that begin so again. */
export function applyMessage(queries: QueryClient, { event, data }: FeedMessage, refresh: Refresh): void {
  if (event === "progress") {
    const job = data as JobSummary;
    queries.setQueriesData<Job>({ predicate: ({ queryKey }) => isJob(queryKey, job.id) }, (old) => old && { ...old, ...job });
    queries.setQueriesData<PageJobSummary | { pages: PageJobSummary[] }>(
      { predicate: ({ queryKey }) => queryKey[1] === "/v1/jobs" },
      (old) => old && ("pages" in old ? { ...old, pages: old.pages.map((page) => withJob(page, job)) } : withJob(old, job)),
    );
    return;
  }
  const { job, state, kind } = data as Event;
  refresh(`/v1/jobs/{id} ${job}`);
  if (kind !== "state") return;
  for (const path of ["/v1/jobs", "/v1/cluster"]) refresh(path);
  if (state === "SUCCEEDED") refresh("artifacts");
}

function withJob(page: PageJobSummary, job: JobSummary): PageJobSummary {
  return { ...page, items: page.items.map((item) => (item.id === job.id ? job : item)) };
}

/** A function that reads queries again, once for all events that come within a moment. */
function later(queries: QueryClient): Refresh {
  const wanted = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  return (path) => {
    wanted.add(path);
    timer ??= setTimeout(() => {
      timer = undefined;
      const paths = [...wanted];
      wanted.clear();
      void queries.invalidateQueries({ predicate: ({ queryKey }) => paths.some((one) => concerns(queryKey, one)) });
    }, 150);
  };
}

function concerns(key: readonly unknown[], path: string): boolean {
  const own = String(key[1] ?? "");
  if (path === "artifacts") return isArtifacts(own);
  const [prefix, job] = path.split(" ");
  if (job !== undefined) return own.startsWith(prefix!) && idOf(key) === job;
  return own === path || (path !== "/v1/jobs" && own.startsWith(`${path}/`));
}

const isArtifacts = (path: string) => /^\/v1\/(?!jobs|cluster|session|access-tokens|about|presets)[a-z-]+$/.test(path);
/** Whether a query shows what jobs change. */
const isLive = (key: readonly unknown[]) => /^\/v1\/(jobs|cluster)/.test(String(key[1] ?? "")) || isArtifacts(String(key[1] ?? ""));
const isJob = (key: readonly unknown[], id: string) => key[1] === "/v1/jobs/{id}" && idOf(key) === id;

function idOf(key: readonly unknown[]): unknown {
  const init = key[2] as { params?: { path?: { id?: unknown } } } | undefined;
  return init?.params?.path?.id;
}
