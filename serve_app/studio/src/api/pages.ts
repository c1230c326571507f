// Lists that come in pages with a cursor, as all long lists of the API do.
import { useInfiniteQuery } from "@tanstack/react-query";
import type { PathsWithMethod } from "openapi-typescript-helpers";
import { useCallback, useMemo } from "react";

import { client } from "./client";
import { toProblem } from "./problem";
import type { paths } from "./schema";

interface PageOf<Item> {
  items: Item[];
  next: string | null;
}
type Path = PathsWithMethod<paths, "get">;
type QueryOf<P extends Path> = paths[P] extends { get: { parameters: { query?: infer Q } } } ? NonNullable<Q> : never;
type ItemOf<P extends Path> = paths[P] extends { get: { responses: { 200: { content: { "application/json": PageOf<infer Item> } } } } } ? Item : never;

/** All rows that were loaded so far, and `more`, which loads the next page if there is one. For DataTable's `onEnd`. */
export function useCursorPages<P extends Path>(path: P, query: Omit<QueryOf<P>, "cursor">, parameters: Record<string, unknown> = {}) {
  type Found = PageOf<ItemOf<P>>;
  const pages = useInfiniteQuery({
    queryKey: ["get", path, { params: { path: parameters, query } }, "pages"],
    initialPageParam: null as string | null,
    getNextPageParam: (page: Found) => page.next,
    queryFn: async ({ pageParam, signal }): Promise<Found> => {
      const all = { ...query, ...(pageParam !== null && { cursor: pageParam }) };
      const { data, error } = await client.GET(path, { params: { path: parameters, query: all }, signal } as never);
      if (data === undefined) throw toProblem(error);
      return data as Found;
    },
  });
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = pages;
  const more = useCallback(() => {
    if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage]);
  const rows = useMemo(() => pages.data?.pages.flatMap((page) => page.items) ?? [], [pages.data]);
  return { query: pages, rows, more, hasMore: hasNextPage, loadingMore: isFetchingNextPage };
}
