// The state of a page in its address, so that a link shows the same.
import { useLocation, useSearch } from "wouter";

import type { Sort } from "../components/DataTable";

/** The parameters of the address, and `set`, which changes some of them (an empty text takes one away) or, with null, takes all away. */
export function useUrlState(): [search: URLSearchParams, set: (changes: Record<string, string> | null) => void] {
  const [path, go] = useLocation();
  const search = new URLSearchParams(useSearch());
  const set = (changes: Record<string, string> | null) => {
    const next = new URLSearchParams(changes === null ? undefined : search);
    for (const [key, value] of Object.entries(changes ?? {})) if (value) next.set(key, value); else next.delete(key);
    go(next.size ? `${path}?${next.toString()}` : path, { replace: true });
  };
  return [search, set];
}

/** The order of a table that the API sorts; `first` is the one that it has without any in the address, or with one that it does not know. */
export function sortOf(search: URLSearchParams, first: Sort = { id: "latent", desc: false }, known?: string[]): Sort {
  const id = search.get("sort");
  if (id === null || known?.includes(id) === false) return first;
  return { id, desc: search.get("order") === "desc" };
}
export const orderOf = (sort: Sort) => (sort.desc ? "desc" : "asc");
