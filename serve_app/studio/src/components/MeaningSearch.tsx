// Features whose labels and examples are near to a query in meaning, beside how near a query of chance words comes: of one SAE,
// or of all SAEs that have labels, by SAE and hook.
import { keepPreviousData } from "@tanstack/react-query";
import { Link } from "wouter";

import { $api } from "../api/client";
import type { FoundFeature } from "../api/schema";
import { featurePath } from "../app/paths";
import { useUrlState } from "../app/urlState";
import { fixed } from "../format";
import { Filter } from "./Filter";
import { JsonLink } from "./Facts";
import { Section } from "./Page";
import { ProblemNotice } from "./Problem";
import { ShownText } from "./ShownText";

const LIMIT = 20;
type Query = { isError: boolean; isPending: boolean; error: unknown; refetch: () => unknown };

export function MeaningSearch({ id, features }: { id: string; features: string }) {
  const [search, set] = useUrlState();
  const query = search.get("q") ?? "";
  const everywhere = search.get("in") === "all";
  const href = everywhere ? `/v1/search/features?${parametersOf(search)}` : `/v1/labels/${id}/search?q=${encodeURIComponent(query)}`;
  return (
    <Section title="Search by meaning" beside={query && <JsonLink href={href} />}>
      <div className="controls">
        <Filter label="What to look for" wide value={query} onChange={(q) => set({ q })} />
        <label>In{" "}
          <select value={everywhere ? "all" : ""} onChange={(event) => set({ in: event.target.value, at_hook: "", of_sae: "" })}>
            <option value="">this SAE</option><option value="all">all SAEs with labels</option>
          </select>
        </label>
        {everywhere && <Choices />}
      </div>
      {query !== "" && (everywhere ? <InAll /> : <InOne id={id} features={features} query={query} />)}
    </Section>
  );
}

function InOne({ id, features, query }: { id: string; features: string; query: string }) {
  const found = $api.useQuery("get", "/v1/labels/{id}/search", { params: { path: { id }, query: { q: query, limit: LIMIT } } }, { placeholderData: keepPreviousData });
  return <Found query={found} chance={found.data?.chance ?? 0} items={found.data?.items.map((one) => ({ ...one, features }))} />;
}

function InAll() {
  const [search] = useUrlState();
  const found = $api.useQuery("get", "/v1/search/features", { params: { query: filtersOf(search) } }, { placeholderData: keepPreviousData });
  return <Found query={found} chance={found.data?.chance ?? 0} items={found.data?.items as Item[] | undefined} leftOut={found.data?.left_out ?? 0} />;
}

/** The SAEs and hooks to choose from. */
function Choices() {
  const [search, set] = useUrlState();
  const all = $api.useQuery("get", "/v1/search/features", { params: { query: { q: search.get("q") || "a", limit: 1 } } }, { placeholderData: keepPreviousData });
  const saes = all.data?.saes ?? [];
  const hooks = [...new Set(saes.map((one) => one.hook).filter((hook) => hook !== null))].sort();
  const hook = search.get("at_hook") ?? "";
  const ids = [...new Set(saes.filter((one) => hook === "" || one.hook === hook).map((one) => one.sae))];
  return (
    <>
      <label>Hook{" "}
        <select value={hook} onChange={(event) => set({ at_hook: event.target.value, of_sae: "" })}>
          <option value="">all</option>{hooks.map((one) => <option key={one}>{one}</option>)}
        </select>
      </label>
      <label>SAE{" "}
        <select value={search.get("of_sae") ?? ""} onChange={(event) => set({ of_sae: event.target.value })}>
          <option value="">all</option>{ids.map((one) => <option key={one} value={one.replace("saes/", "")}>{one}</option>)}
        </select>
      </label>
    </>
  );
}

function filtersOf(search: URLSearchParams) {
  const [hook, sae] = [search.get("at_hook"), search.get("of_sae")];
  return { q: search.get("q") ?? "", limit: LIMIT, ...(hook && { hook: [hook] }), ...(sae && { sae: [sae] }) };
}

const parametersOf = (search: URLSearchParams): string =>
  new URLSearchParams(Object.entries(filtersOf(search)).map(([name, value]) => [name, String(value)])).toString();

type Item = FoundFeature & { features: string; sae?: string; hook?: string | null };

function Found({ query, chance, items, leftOut = 0 }: { query: Query; chance: number; items: Item[] | undefined; leftOut?: number }) {
  if (query.isError) return <ProblemNotice error={query.error} what="Nothing was searched" onRetry={() => void query.refetch()} />;
  if (items === undefined) return <p className="quiet" role="status">Searching …</p>;
  return (
    <>
      <p className="quiet" role="status">The {items.length} nearest. A query of as many chance words comes as near as {fixed(chance, 2)}: what is not nearer was not found.{leftOut > 0 && ` ${leftOut} SAEs were not searched.`}</p>
      <ol className="plain found">
        {items.map((one) => (
          <li key={`${one.features}/${one.latent}/${one.sae ?? ""}`} className={one.cosine > chance ? undefined : "quiet"}>
            <span className="num">{fixed(one.cosine, 2)}</span> <Link href={featurePath(one.features, one.latent)}>{one.latent}</Link>{" "}
            {one.sae && <span className="quiet">{one.sae}{one.hook && `, ${one.hook}`} </span>}
            {one.label === null ? <span className="quiet">no label</span> : <ShownText text={one.label} most={160} />}
            {one.label_score !== null && <span className="quiet"> {fixed(one.label_score, 2)} (permuted {fixed(one.permuted_score ?? 0, 2)})</span>}
          </li>
        ))}
      </ol>
    </>
  );
}
