// Near misses of a feature: positions with the tokens of its examples, where it is silent.
import { $api } from "../api/client";
import type { Feature } from "../api/schema";
import { whole } from "../format";
import { ActiveTokens, TokenChip } from "./ActiveTokens";
import { JsonLink } from "./Facts";
import { Loaded } from "./States";

export function NearMisses({ id, feature }: { id: string; feature: Feature }) {
  const found = $api.useQuery("get", "/v1/features/{id}/latents/{latent}/near-misses", { params: { path: { id, latent: feature.latent } } }, { staleTime: Infinity });
  return (
    <>
      <p className="quiet">
        The same tokens as in its examples (boxed), where the feature is silent: what it does not respond to. Other tokens of the text may be active.
        The language model runs a few rows again to find them. <JsonLink href={`/v1/features/${id}/latents/${feature.latent}/near-misses`} />
      </p>
      <Loaded query={found} what="near misses (the first search waits for the model)">
        {({ items, rows, positions, silent, tokens }) => (
          <>
            <p role="status">
              It is silent at {whole(silent)} of {whole(positions)} positions with {tokens.slice(0, 6).map((token, i) => <TokenChip key={i} token={token} />)}
              {tokens.length > 6 && ` and ${whole(tokens.length - 6)} others `} in {whole(rows)} rows.
              {items.length === 0 && (positions === 0 ? " No row that was searched has one of the tokens as data." : " There is no near miss among them: here the token alone decides.")}
            </p>
            <ol className="examples">
              {items.map((one, i) => (
                <li key={`${one.row}-${one.position}`} className="example">
                  <div className="meta"><b>silent</b><span>row {whole(one.row)}</span><span>position {one.position}</span></div>
                  <div><ActiveTokens label={`Near miss ${i + 1}`} tokens={one.tokens} activations={one.activations} max={feature.max} peak={one.at} excluded={one.excluded} first={one.position - one.at} /></div>
                </li>
              ))}
            </ol>
          </>
        )}
      </Loaded>
    </>
  );
}
