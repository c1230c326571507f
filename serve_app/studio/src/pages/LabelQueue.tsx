// Features one after the other, to be named by a person: Enter saves and goes on, Alt with an arrow key goes on or back.
import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, type KeyboardEvent, useEffect, useRef } from "react";
import { Link, useLocation, useParams, useSearch } from "wouter";

import { $api } from "../api/client";
import { useCursorPages } from "../api/pages";
import type { Artifact, LabelledFeature, LabelledFeaturePage } from "../api/schema";
import { useMayWrite } from "../api/session";
import { featurePath } from "../app/paths";
import { ActiveTokens } from "../components/ActiveTokens";
import { ArtifactLink } from "../components/ArtifactLink";
import { between } from "../components/FeatureLabels";
import { Page } from "../components/Page";
import { ProblemNotice } from "../components/Problem";
import { ShownText } from "../components/ShownText";
import { Empty, Loaded } from "../components/States";
import { figures, whole } from "../format";

const EXAMPLES = 8;

export default function LabelQueue() {
  const { id } = useParams<{ id: string }>();
  const labels = $api.useQuery("get", "/v1/labels/{id}", { params: { path: { id } } });
  return (
    <Page title="Name features" lead={<>By the filters and in the order of <ArtifactLink reference={`labels/${id}`} />. <kbd>Enter</kbd> saves and goes on; <kbd>Alt</kbd> with <kbd>→</kbd> or <kbd>←</kbd> goes on or back without saving.</>}>
      <Loaded query={labels} what="the labels">{(found) => <Queue id={id} features={(found as Artifact).inputs["features"]!} />}</Loaded>
    </Page>
  );
}

function Queue({ id, features }: { id: string; features: string }) {
  const [path, go] = useLocation();
  const search = new URLSearchParams(useSearch());
  const at = Math.max(0, Number(search.get("at") ?? 0) || 0);
  const filters = Object.fromEntries([...search].filter(([name]) => name !== "at" && name !== "q"));
  const found = useCursorPages("/v1/labels/{id}/latents", { limit: 100, ...filters } as never, { id });
  const rows = found.rows as LabelledFeature[];
  const total = (found.query.data?.pages[0] as LabelledFeaturePage | undefined)?.total ?? 0;
  const { more, loadingMore } = found;
  useEffect(() => {
    if (at + 2 > rows.length && !loadingMore) more();
  }, [at, rows.length, loadingMore, more]);
  const move = (to: number) => {
    search.set("at", String(Math.max(0, Math.min(to, total - 1))));
    go(`${path}?${search.toString()}`, { replace: true });
  };
  return (
    <Loaded query={found.query} what="the features">
      {() => {
        const row = rows[at];
        if (total === 0) return <Empty title="No feature is like that."><Link href={`/labels/${id}`}>All labels</Link></Empty>;
        if (row === undefined) return <p role="status" className="quiet">Loading feature {whole(at + 1)} …</p>;
        return <Feature key={row.latent} row={row} features={features} place={`${whole(at + 1)} of ${whole(total)}`} onMove={(step) => move(at + step)} isLast={at + 1 >= total} />;
      }}
    </Loaded>
  );
}

interface Shown {
  row: LabelledFeature;
  features: string;
  place: string;
  isLast: boolean;
  onMove: (step: number) => void;
}

function Feature({ row, features, place, isLast, onMove }: Shown) {
  const featuresId = features.split("/")[1]!;
  const feature = $api.useQuery("get", "/v1/features/{id}/latents/{latent}", { params: { path: { id: featuresId, latent: row.latent } } });
  const examples = $api.useQuery("get", "/v1/features/{id}/latents/{latent}/examples", { params: { path: { id: featuresId, latent: row.latent }, query: { limit: EXAMPLES } } });
  return (
    <div onKeyDown={(event: KeyboardEvent) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!event.altKey || step === undefined) return;
      event.preventDefault();
      onMove(step);
    }}>
      <h2><Link href={featurePath(features, row.latent)}>Feature {row.latent}</Link> <small className="quiet" role="status">{place}</small></h2>
      <p>
        {row.label === null ? "No method found a label" : <><ShownText text={row.label} most={300} /> <span className="quiet">{between(row.label_score, null, null)}, permuted {between(row.permuted_score, null, null)}</span></>}
        <span className="quiet"> · {row.type}</span>
      </p>
      <Loaded query={feature} what="the feature">{(data) => <NameForm sae={data.sae} row={row} isLast={isLast} onMove={onMove} />}</Loaded>
      <Loaded query={examples} what="the examples">
        {(all) => (
          <ol className="examples">
            {all.map((one, i) => (
              <li key={`${one.row}-${one.position}`} className="example">
                <div className="meta"><b>{figures(one.activation)}</b></div>
                <ActiveTokens label={`Example ${i + 1}, activation ${figures(one.activation)}`} tokens={one.tokens} activations={one.activations} max={feature.data?.max ?? one.activation} peak={one.at} excluded={one.excluded} first={one.position - one.at} />
              </li>
            ))}
          </ol>
        )}
      </Loaded>
    </div>
  );
}

function NameForm({ sae, row, isLast, onMove }: { sae: string; row: LabelledFeature; isLast: boolean; onMove: (step: number) => void }) {
  const queries = useQueryClient();
  const mayWrite = useMayWrite();
  const path = { id: sae.split("/")[1]!, latent: row.latent };
  const annotation = $api.useQuery("get", "/v1/saes/{id}/latents/{latent}", { params: { path } }, { retry: false });
  const write = $api.useMutation("patch", "/v1/saes/{id}/latents/{latent}");
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (!annotation.isPending) input.current?.focus();
  }, [annotation.isPending]);
  if (annotation.isPending) return <p className="quiet" role="status">Loading its name …</p>;
  const save = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const label = String(new FormData(event.currentTarget).get("label"));
    write.mutate({ params: { path }, body: { label } }, {
      onSuccess: async () => {
        await queries.invalidateQueries({ predicate: ({ queryKey }) => String(queryKey[1]).startsWith("/v1/saes/{id}/latents") });
        onMove(1);
      },
    });
  };
  return (
    <form className="controls" onSubmit={save}>
      <label>Name of feature {row.latent}{" "}
        <input ref={input} name="label" maxLength={500} autoComplete="off" defaultValue={annotation.data?.label ?? ""} readOnly={!mayWrite} placeholder="what it means, in a few words" />
      </label>
      {mayWrite && <button type="submit" className="primary" disabled={write.isPending}>{isLast ? "Save" : "Save and go on"}</button>}
      <button type="button" aria-keyshortcuts="Alt+ArrowLeft" onClick={() => onMove(-1)}>Back</button>
      <button type="button" aria-keyshortcuts="Alt+ArrowRight" disabled={isLast} onClick={() => onMove(1)}>Skip</button>
      {write.error != null && <ProblemNotice error={write.error} what="It was not saved" />}
    </form>
  );
}
