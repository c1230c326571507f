// Features whose labels and examples are near to a query in meaning, beside how near a query of chance words comes.
import { keepPreviousData } from "@tanstack/react-query";
import { Link } from "wouter";

import { $api } from "../api/client";
import { featurePath } from "../app/paths";
import { fixed } from "../format";
import { Filter } from "./Filter";
import { JsonLink } from "./Facts";
import { Section } from "./Page";
import { ProblemNotice } from "./Problem";
import { ShownText } from "./ShownText";

const LIMIT = 20;

export function MeaningSearch({ id, features, query, onQuery }: { id: string; features: string; query: string; onQuery: (query: string) => void }) {
  const found = $api.useQuery("get", "/v1/labels/{id}/search", { params: { path: { id }, query: { q: query, limit: LIMIT } } }, { enabled: query !== "", placeholderData: keepPreviousData });
  return (
    <Section title="Search by meaning" beside={query && <JsonLink href={`/v1/labels/${id}/search?q=${encodeURIComponent(query)}`} />}>
      <div className="controls"><Filter label="What to look for" wide value={query} onChange={onQuery} /></div>
      {query !== "" && found.isError && <ProblemNotice error={found.error} what="Nothing was searched" onRetry={() => void found.refetch()} />}
      {query !== "" && found.isPending && <p className="quiet" role="status">Searching …</p>}
      {query !== "" && found.data && (
        <>
          <p className="quiet" role="status">The {found.data.items.length} nearest. A query of as many chance words comes as near as {fixed(found.data.chance, 2)}: what is not nearer was not found.</p>
          <ol className="plain found">
            {found.data.items.map((one) => (
              <li key={one.latent} className={one.cosine > found.data.chance ? undefined : "quiet"}>
                <span className="num">{fixed(one.cosine, 2)}</span> <Link href={featurePath(features, one.latent)}>{one.latent}</Link>{" "}
                {one.label === null ? <span className="quiet">no label</span> : <ShownText text={one.label} most={160} />}
                {one.label_score !== null && <span className="quiet"> {fixed(one.label_score, 2)} (permuted {fixed(one.permuted_score ?? 0, 2)})</span>}
              </li>
            ))}
          </ol>
        </>
      )}
    </Section>
  );
}
