// The three states that every page has beside its content: loading, failed and empty.
import type { ReactNode } from "react";

import { isPassing, toProblem } from "../api/problem";
import { ProblemNotice } from "./Problem";

export function Loading({ what }: { what: string }) {
  return (
    <p className="loading quiet" role="status">
      Loading {what} …
    </p>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <p>
        <strong>{title}</strong>
      </p>
      {children}
    </div>
  );
}

interface Props<T> {
  query: { data: T | undefined; error: unknown; isError: boolean; refetch: () => unknown };
  /** What it shows, after "Loading" and "cannot load": "the jobs". */
  what: string;
  children: (data: T) => ReactNode;
}

/** The content of a query once it is there. Content stays, with the problem above it, when reading it again fails. */
export function Loaded<T>({ query, what, children }: Props<T>) {
  const failed = query.isError && (
    <ProblemNotice
      error={query.error}
      what={query.data === undefined ? `Cannot load ${what}` : `Cannot update ${what}: this is what was read last`}
      onRetry={() => void query.refetch()}
    />
  );
  if (query.data === undefined) return failed || <Loading what={what} />;
  return (
    <>
      {failed}
      {children(query.data)}
    </>
  );
}

/** Tries again where that may help, for TanStack Query: at most four times, for a server that is starting or away. */
export function retryPassing(failures: number, error: unknown): boolean {
  return failures < 4 && isPassing(toProblem(error));
}
