// All features that are active at one token of an example, the strongest first.
import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";

import { client } from "../api/client";
import { toProblem } from "../api/problem";
import { featurePath } from "../app/paths";
import { figures, named, whole } from "../format";
import { Loaded } from "./States";

const CHARACTERS = 1000; // of a text that the API runs

/** `tokens`: the example's, up to the chosen one. */
export function TokenFeatures({ sae, features, tokens, onClose }: { sae: string; features: string; tokens: string[]; onClose: () => void }) {
  const text = tokens.join("").slice(-CHARACTERS);
  const found = useQuery({
    queryKey: ["features of a token", sae, text],
    staleTime: Infinity,
    retry: false,
    queryFn: async ({ signal }) => {
      const { data, error } = await client.POST("/v1/text/features", { body: { sae, text, top: 50, latents: [] }, signal });
      if (data === undefined) throw toProblem(error);
      return data;
    },
  });
  return (
    <div className="notice token-features">
      <strong>Features at {named(tokens.at(-1) ?? "")}</strong>
      <p className="quiet">The model reads the example’s own words up to this token, without the rest of the row: activations can differ a little.</p>
      <Loaded query={found} what="all features at this token (the first text waits for the model)">
        {({ tokens: read }) => {
          const token = read.filter((one) => one.role === "data").at(-1);
          if (!token) return <p>No token of the text is data.</p>;
          if (token.excluded) return <p>This SAE leaves the position out: {token.excluded}.</p>;
          return (
            <p>{whole(token.active)} active{token.active > token.top.length ? `, the strongest ${token.top.length}` : ""}:{" "}
              {token.top.map((one) => <span key={one.latent} className="chip"><Link href={featurePath(features, one.latent)}>{one.latent}</Link> {figures(one.activation)}</span>)}</p>
          );
        }}
      </Loaded>
      <button type="button" onClick={onClose}>Close</button>
    </div>
  );
}
