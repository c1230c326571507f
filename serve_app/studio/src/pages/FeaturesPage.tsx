// All features of an SAE: filtered and sorted by the API, only the rows that are seen in the document; a text of one's own.
import { useState } from "react";
import { Link, useParams } from "wouter";

import { $api } from "../api/client";
import { useCursorPages } from "../api/pages";
import type { Artifact, FeaturePage, FeatureSummary } from "../api/schema";
import { useMayWrite } from "../api/session";
import { featurePath } from "../app/paths";
import { orderOf, sortOf, useUrlState } from "../app/urlState";
import { TokenChip } from "../components/ActiveTokens";
import { ArtifactLink } from "../components/ArtifactLink";
import { ArtifactLead, DeleteArtifact, Labels, Provenance } from "../components/ArtifactParts";
import { type Column, DataTable } from "../components/DataTable";
import { CopyJson } from "../components/CopyJson";
import { JsonLink } from "../components/Facts";
import { Filter } from "../components/Filter";
import { LabelFeatures } from "../components/LabelFeatures";
import { PutOnList } from "../components/ListForms";
import { OwnText } from "../components/OwnText";
import { Page, Section } from "../components/Page";
import { Empty, Loaded } from "../components/States";
import { ShownText } from "../components/ShownText";
import { figures, percent, whole } from "../format";

const FILTERS = [["token", "Promotes a token with"], ["min_density", "Density, at least"], ["max_density", "Density, at most"], ["min_max", "Max activation, at least"]] as const;

export default function FeaturesPage() {
  const { id } = useParams<{ id: string }>();
  const features = $api.useQuery("get", "/v1/features/{id}", { params: { path: { id } } });
  const data = features.data as Artifact | undefined;
  const sae = data?.inputs["sae"];
  return (
    <Page
      title={data ? (data.name ? `Features, ${data.name}` : `Features ${data.label}`) : id}
      actions={data && <><LabelFeatures features={data.ref} /> <DeleteArtifact item={data} kind="features" /></>}
      lead={data && <><ArtifactLead item={data} />{sae && <> · of <ArtifactLink reference={sae} /></>} · <JsonLink href={data.url} /></>}
    >
      <Table id={id} {...(sae && { sae })} />
      <Loaded query={features} what="the features">
        {(found) => (
          <>
            {sae && <OwnText sae={sae} features={(found as Artifact).ref} />}
            {sae && <Annotated sae={sae} features={(found as Artifact).ref} />}
            <Labels item={found as Artifact} kind="features" />
            <Provenance item={found as Artifact} />
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Table({ id, sae }: { id: string; sae?: string }) {
  const mayWrite = useMayWrite();
  const [chosen, setChosen] = useState<ReadonlySet<number>>(new Set());
  const choose = (latent: number, on: boolean) => setChosen((old) => new Set(on ? [...old, latent] : [...old].filter((one) => one !== latent)));
  const [search, set] = useUrlState();
  const sort = sortOf(search);
  const filters = Object.fromEntries(FILTERS.map(([name]) => [name, search.get(name)]).filter(([name, value]) => value && (name === "token" || !Number.isNaN(Number(value)))));
  const alive = search.get("alive");
  const found = useCursorPages("/v1/features/{id}/latents", { limit: 200, sort: sort.id, order: orderOf(sort), ...filters, ...(alive && { alive }) } as never, { id });
  const rows = found.rows as FeatureSummary[];
  const total = (found.query.data?.pages[0] as FeaturePage | undefined)?.total;
  const columns: Column<FeatureSummary>[] = [
    { id: "latent", header: "Feature", value: (row) => row.latent, numeric: true, sortable: true, cell: (row) => <Link href={featurePath(`features/${id}`, row.latent)}>{row.latent}</Link> },
    { id: "density", header: "Density", value: (row) => row.density, numeric: true, sortable: true, cell: (row) => percent(row.density) },
    { id: "max", header: "Max", value: (row) => row.max, numeric: true, sortable: true, cell: (row) => figures(row.max), title: "Largest activation" },
    { id: "mean", header: "Mean", value: (row) => row.mean, numeric: true, sortable: true, wide: true, cell: (row) => figures(row.mean), title: "Mean of its activations where it is active" },
    { id: "promoted", header: "Promoted tokens", value: (row) => row.promoted_tokens?.join(" ") ?? null, wide: true, cell: (row) => row.promoted_tokens?.slice(0, 6).map((token, i) => <TokenChip key={i} token={token} />) ?? "–" },
  ];
  if (sae && mayWrite) {
    columns.push({ id: "choose", header: "List", title: "Choose features for a list", value: () => null, cell: (row) => <input type="checkbox" aria-label={`Choose feature ${row.latent}`} checked={chosen.has(row.latent)} onChange={(event) => choose(row.latent, event.target.checked)} /> });
  }
  return (
    <Section title="All features" beside={<>{total !== undefined && <span className="quiet" role="status">{whole(total)} match</span>}<JsonLink href={`/v1/features/${id}/latents`} /></>}>
      <div className="controls">
        {FILTERS.map(([name, label]) => <Filter key={name} label={label} value={search.get(name) ?? ""} numeric={name !== "token"} onChange={(value) => set({ [name]: value })} />)}
        <label>Active{" "}
          <select value={alive ?? ""} onChange={(event) => set({ alive: event.target.value })}>
            <option value="">all</option><option value="true">active at least once</option><option value="false">never active</option>
          </select>
        </label>
      </div>
      {sae && chosen.size > 0 && <PutOnList features={[...chosen].map((latent) => ({ sae, latent }))} onDone={() => setChosen(new Set())} />}
      <Loaded query={found.query} what="the features">
        {() => (
          <DataTable caption="Features" columns={columns} rows={rows} rowKey={(row) => String(row.latent)} sort={sort} onEnd={found.more} {...(total !== undefined && { total })}
            onSort={(next) => set({ sort: next.id, order: orderOf(next) })}
            empty={<Empty title="No feature is like that."><button type="button" onClick={() => set(null)}>Show all</button></Empty>} />
        )}
      </Loaded>
    </Section>
  );
}

function Annotated({ sae, features }: { sae: string; features: string }) {
  const found = $api.useQuery("get", "/v1/saes/{id}/latents", { params: { path: { id: sae.split("/")[1]! }, query: { limit: 200 } } });
  return (
    <Section title="Starred and annotated" beside={<>{found.data && found.data.items.length > 0 && <CopyJson value={found.data.items} what="The list" />}<JsonLink href={`/v1/${sae}/latents`} /></>}>
      <Loaded query={found} what="stars and notes">
        {(page) => page.items.length === 0 ? <p className="quiet">None yet: open a feature to star it, name it or write notes.</p> : (
          <ul className="plain">
            {page.items.map((one) => (
              <li key={one.latent}>{one.starred && <span aria-label="starred">★ </span>}<Link href={featurePath(features, one.latent)}>{one.latent}</Link> {one.label && <ShownText text={one.label} most={120} />} {one.notes && <span className="quiet"><ShownText text={one.notes} most={200} /></span>}</li>
            ))}
          </ul>
        )}
      </Loaded>
    </Section>
  );
}
