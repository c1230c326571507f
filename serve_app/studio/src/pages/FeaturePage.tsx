// One feature: its histogram, logit lens, neighbours, examples by interval; star, name and notes; a text of one's own.
import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link, useLocation, useParams, useSearch } from "wouter";

import { $api } from "../api/client";
import type { Annotation, Example, Feature, Logit } from "../api/schema";
import { toProblem } from "../api/problem";
import { useMayWrite } from "../api/session";
import { featurePath } from "../app/paths";
import { ActiveTokens, TokenChip, TokenKey } from "../components/ActiveTokens";
import { ArtifactLink } from "../components/ArtifactLink";
import { Coactive } from "../components/Coactive";
import { CopyJson } from "../components/CopyJson";
import { Facts, JsonLink, Moment } from "../components/Facts";
import { FeatureLabels } from "../components/FeatureLabels";
import { FeatureHistogram } from "../components/FeatureHistogram";
import { ListsOfFeature } from "../components/ListsOfFeature";
import { NearMisses } from "../components/NearMisses";
import { OwnText } from "../components/OwnText";
import { Page, Section } from "../components/Page";
import { ProblemNotice } from "../components/Problem";
import { ShownText } from "../components/ShownText";
import { Loaded } from "../components/States";
import { TokenFeatures } from "../components/TokenFeatures";
import { figures, fixed, percent, whole } from "../format";

export default function FeaturePage() {
  const params = useParams<{ id: string; latent: string }>();
  const path = { id: params.id, latent: Number(params.latent) };
  const feature = $api.useQuery("get", "/v1/features/{id}/latents/{latent}", { params: { path } });
  const data = feature.data;
  const features = `features/${path.id}`;
  return (
    <Page
      title={`Feature ${params.latent}`}
      actions={
        <nav aria-label="Features">
          {path.latent > 0 && <Link href={featurePath(features, path.latent - 1)} className="button">← previous</Link>}{" "}
          <Link href={featurePath(features, path.latent + 1)} className="button">next →</Link>{" "}
          <Link href={`/${features}`} className="button">All features</Link>{" "}
          {!data?.hook_shares && <Link href={`${featurePath(features, path.latent)}/steer`} className="button primary">Steer with it</Link>}
        </nav>
      }
      lead={data && <>{data.hook}, <ArtifactLink reference={data.sae} /> · <JsonLink href={`/v1/${features}/latents/${path.latent}`} /></>}
    >
      <Loaded query={feature} what="the feature">{(found) => <Details key={found.latent} feature={found} id={path.id} />}</Loaded>
    </Page>
  );
}

function Details({ feature, id }: { feature: Feature; id: string }) {
  const features = `features/${id}`;
  return (
    <>
      <Notes sae={feature.sae} latent={feature.latent} />
      <ListsOfFeature sae={feature.sae} latent={feature.latent} />
      <Facts facts={[
        ["Density", feature.density > 0 ? `${percent(feature.density)}, 1 in ${whole(1 / feature.density)}` : "never active"],
        ["Active positions", whole(feature.count)], ["Max activation", figures(feature.max)], ["Mean when active", figures(feature.mean)],
        ...Object.entries(feature.hook_shares ?? {}).map(([hook, share]): [string, string] => [`Norm at ${hook}`, percent(share)]),
      ]} />
      <div className="columns">
        <div className="card">
          <h2 className="card-title">Activations</h2>
          {feature.histogram.length === 0 ? <p className="quiet">It was never active.</p> : <FeatureHistogram bins={feature.histogram} />}
        </div>
        <Logits title="Promoted tokens" logits={feature.promoted} why={feature.no_logit_lens} />
        <Logits title="Suppressed tokens" logits={feature.suppressed} why={feature.no_logit_lens} />
        <div className="card">
          <h2 className="card-title">Nearest features</h2>
          <ul className="weights">
            {feature.neighbours.map((one) => <li key={one.latent}><Link href={featurePath(features, one.latent)}>{one.latent}</Link><span className="num quiet">{fixed(one.cosine, 3)}</span></li>)}
          </ul>
          <p className="quiet">Cosine of the decoder directions.</p>
        </div>
      </div>
      <FeatureLabels features={features} latent={feature.latent} />
      <Examples feature={feature} id={id} />
      <Coactive features={features} latent={feature.latent} />
      <OwnText sae={feature.sae} features={features} latent={feature.latent} />
    </>
  );
}

function Logits({ title, logits, why }: { title: string; logits: Logit[] | null; why: string | null }) {
  return (
    <div className="card">
      <h2 className="card-title">{title}</h2>
      {logits === null ? <p className="quiet">{why ?? "There is no logit lens."}</p> : (
        <ul className="weights">
          {logits.map((one, i) => <li key={i}><TokenChip token={one.token} /><span className="num quiet">{fixed(one.logit, 2)}</span></li>)}
        </ul>
      )}
    </div>
  );
}

/** The parts that examples come in, in the order of the tabs. */
function partsOf(examples: Example[]): { key: string; title: string; examples: Example[] }[] {
  const groups = new Map<string, Example[]>();
  for (const one of examples) {
    const key = one.part === null ? one.kind : `${one.kind} ${one.part}`;
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  const title = (key: string) => (key === "top" ? "Top" : key === "uniform" ? "Uniform" : key.startsWith("quantile ") ? `Interval ${Number(key.slice(9)) + 1}` : key);
  const order = (key: string) => (key === "top" ? -1000 : key.startsWith("quantile ") ? -Number(key.slice(9)) : 1);
  return [...groups].sort(([a], [b]) => order(a) - order(b)).map(([key, found]) => ({ key, title: title(key), examples: found }));
}

function Examples({ feature, id }: { feature: Feature; id: string }) {
  const found = $api.useQuery("get", "/v1/features/{id}/latents/{latent}/examples", { params: { path: { id, latent: feature.latent }, query: { limit: 500 } } });
  const search = new URLSearchParams(useSearch());
  const [path, go] = useLocation();
  const [token, choose] = useState<{ example: Example; at: number } | null>(null);
  return (
    <Section title="Examples" beside={<>{found.data && <CopyJson value={{ ...feature, examples: found.data }} what={`Feature ${feature.latent}`} />}<JsonLink href={`/v1/features/${id}/latents/${feature.latent}/examples`} /></>}>
      <Loaded query={found} what="the examples">
        {(all) => {
          const parts = partsOf(all);
          const near = search.get("examples") === "near";
          const chosen = parts.find((part) => part.key === search.get("examples")) ?? parts[0];
          if (!chosen) return <p className="empty">It was never active: there are no examples.</p>;
          return (
            <>
              <div className="tabs" role="group" aria-label="Kinds of examples">
                {parts.map((part) => (
                  <button key={part.key} type="button" aria-pressed={!near && part === chosen} onClick={() => go(`${path}?examples=${encodeURIComponent(part.key)}`, { replace: true })}>
                    {part.title} <small>{part.examples.length}</small>
                  </button>
                ))}
                <button type="button" aria-pressed={near} onClick={() => go(`${path}?examples=near`, { replace: true })}>Near misses</button>
              </div>
              {near ? <NearMisses id={id} feature={feature} /> : <>
              <TokenKey max={feature.max} />
              <p className="quiet">A click on a token (or Enter) shows all features that are active there. Interval 1 has the weakest activations.</p>
              <ol className="examples">
                {chosen.examples.map((one, i) => (
                  <li key={`${one.row}-${one.position}-${i}`} className="example">
                    <div className="meta"><b>{figures(one.activation)}</b><span>row {whole(one.row)}</span><span>position {one.position}</span></div>
                    <div>
                      <ActiveTokens label={`Example ${i + 1}, activation ${figures(one.activation)}, row ${one.row}, position ${one.position}`} tokens={one.tokens} activations={one.activations} max={feature.max} peak={one.at} excluded={one.excluded} first={one.position - one.at} onChoose={(at) => choose({ example: one, at })} />
                      {token?.example === one && <TokenFeatures sae={feature.sae} features={`features/${id}`} tokens={one.tokens.slice(0, token.at + 1)} onClose={() => choose(null)} />}
                    </div>
                  </li>
                ))}
              </ol>
              </>}
            </>
          );
        }}
      </Loaded>
    </Section>
  );
}

function Notes({ sae, latent }: { sae: string; latent: number }) {
  const path = { id: sae.split("/")[1]!, latent };
  const found = $api.useQuery("get", "/v1/saes/{id}/latents/{latent}", { params: { path } }, { retry: false });
  // Nobody has annotated it: the API answers 404.
  const none = found.isError && toProblem(found.error).status === 404;
  if (found.isPending) return <p className="quiet" role="status">Loading star and notes …</p>;
  if (found.isError && !none) return <ProblemNotice error={found.error} what="Star and notes were not read" />;
  return <NotesForm path={path} annotation={none ? null : (found.data ?? null)} />;
}

/** What name and notes were after each change, read when it is opened. */
function History({ path }: { path: { id: string; latent: number } }) {
  const [open, setOpen] = useState(false);
  const found = $api.useQuery("get", "/v1/saes/{id}/latents/{latent}/history", { params: { path } }, { enabled: open });
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>History</summary>
      {open && (
        <Loaded query={found} what="the history">
          {(versions) => (
            <ol className="plain">
              {versions.map((one) => (
                <li key={one.version}><Moment at={one.written_at} /> by <ShownText text={one.written_by} most={60} />: {one.label ? <strong><ShownText text={one.label} /></strong> : "no name"}{one.notes && <>, <ShownText text={one.notes} most={200} /></>}</li>
              ))}
            </ol>
          )}
        </Loaded>
      )}
    </details>
  );
}

function NotesForm({ path, annotation }: { path: { id: string; latent: number }; annotation: Annotation | null }) {
  const mayWrite = useMayWrite();
  const queries = useQueryClient();
  const star = $api.useMutation("put", "/v1/saes/{id}/latents/{latent}/star");
  const unstar = $api.useMutation("delete", "/v1/saes/{id}/latents/{latent}/star");
  const write = $api.useMutation("patch", "/v1/saes/{id}/latents/{latent}");
  const [open, setOpen] = useState(false);
  const starred = annotation?.starred ?? false;
  const again = { onSuccess: () => queries.invalidateQueries({ predicate: ({ queryKey }) => String(queryKey[1]).startsWith("/v1/saes/{id}/latents") }) };
  const save = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    write.mutate({ params: { path }, body: { label: String(form.get("label")), notes: String(form.get("notes")) } }, { onSuccess: () => { setOpen(false); return again.onSuccess(); } });
  };
  const error = star.error ?? unstar.error ?? write.error;
  return (
    <>
      <div className="buttons">
        <button type="button" aria-pressed={starred} disabled={!mayWrite || star.isPending || unstar.isPending} onClick={() => (starred ? unstar : star).mutate({ params: { path } }, again)}>{starred ? "★ Starred" : "☆ Star"}</button>
        {mayWrite && !open && <button type="button" onClick={() => setOpen(true)}>Name and notes</button>}
      </div>
      {error != null && <ProblemNotice error={error} what="It was not saved" />}
      {!open && annotation?.label && <p><strong><ShownText text={annotation.label} /></strong></p>}
      {!open && annotation?.notes && <p><ShownText text={annotation.notes} lines /></p>}
      {!open && annotation !== null && (annotation.label || annotation.notes) && <History path={path} />}
      {open && (
        <form className="schema-form" onSubmit={save}>
          <div className="field"><label htmlFor="feature-label">Name</label><input id="feature-label" name="label" defaultValue={annotation?.label ?? ""} autoComplete="off" /></div>
          <div className="field"><label htmlFor="feature-notes">Notes</label><textarea id="feature-notes" name="notes" rows={3} defaultValue={annotation?.notes ?? ""} /></div>
          <div className="buttons"><button type="submit" className="primary" disabled={write.isPending}>Save</button><button type="button" onClick={() => setOpen(false)}>Leave it as it is</button></div>
        </form>
      )}
    </>
  );
}
