// Who is signed in.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";

import { client, onSessionEnded } from "./client";
import { toProblem } from "./problem";
import type { Session } from "./schema";

const KEY = ["session"];

async function read(): Promise<Session | null> {
  const { data, error, response } = await client.GET("/v1/session");
  if (response.status === 401) return null;
  if (data === undefined) throw toProblem(error);
  return data;
}

/** The session: undefined while it is not known, null if nobody is signed in. */
export function useSession() {
  const queries = useQueryClient();
  useEffect(() => onSessionEnded(() => queries.setQueryData(KEY, null)), [queries]);
  return useQuery({ queryKey: KEY, queryFn: read, staleTime: 60_000 });
}

export function useMayWrite(): boolean {
  return useSession().data?.scopes.includes("write") ?? false;
}

/** Signs in and returns the session. Throws a problem. */
export function useSignIn() {
  const queries = useQueryClient();
  return async (body: { code: string } | { token: string }): Promise<Session> => {
    const { data, error } = await client.POST("/v1/session", { body });
    if (data === undefined) throw toProblem(error);
    await queries.cancelQueries({ queryKey: KEY }); // an answer from before must not come after this one
    queries.setQueryData(KEY, data);
    return data;
  };
}

/** Signs out and forgets everything that was read. */
export function useSignOut() {
  const queries = useQueryClient();
  return async (): Promise<void> => {
    const { error } = await client.DELETE("/v1/session");
    if (error !== undefined) throw toProblem(error);
    queries.clear();
    queries.setQueryData(KEY, null);
  };
}
