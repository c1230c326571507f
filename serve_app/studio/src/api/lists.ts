// People's lists of features: read, and changed. After a change everything that shows lists is read again.
import { useQueryClient } from "@tanstack/react-query";

import { $api, client } from "./client";
import { toProblem } from "./problem";
import type { FeatureList } from "./schema";

/** One latent of an SAE: `saes/67d5273bd9611bd1`, 1207. */
export interface ListedLatent {
  sae: string;
  latent: number;
}

/** Lists that a person can choose from: the first 200 by name. */
export const useLists = () => $api.useQuery("get", "/v1/lists", { params: { query: { limit: 200 } } });

/** What changes lists. Each throws a problem. */
export function useListChanges() {
  const queries = useQueryClient();
  const again = () => queries.invalidateQueries({ predicate: ({ queryKey }) => String(queryKey[1]).startsWith("/v1/lists") });
  async function settled<T>(call: Promise<{ data?: T; error?: unknown }>): Promise<T> {
    const { data, error } = await call;
    if (error !== undefined) throw toProblem(error);
    await again();
    return data as T;
  }
  const add = (id: string, features: ListedLatent[]): Promise<FeatureList> =>
    settled(client.POST("/v1/lists/{id}/features", { params: { path: { id } }, body: { features } }));
  const create = (name: string): Promise<FeatureList> => settled(client.POST("/v1/lists", { body: { name } }));
  return {
    add,
    create,
    rename: (id: string, name: string): Promise<FeatureList> => settled(client.PATCH("/v1/lists/{id}", { params: { path: { id } }, body: { name } })),
    remove: (id: string): Promise<unknown> => settled(client.DELETE("/v1/lists/{id}", { params: { path: { id } } })),
    takeOff: (id: string, { sae, latent }: ListedLatent): Promise<unknown> =>
      settled(client.DELETE("/v1/lists/{id}/features/{sae_id}/{latent}", { params: { path: { id, sae_id: sae.split("/")[1]!, latent } } })),
  };
}
