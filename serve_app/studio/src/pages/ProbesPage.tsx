// What an SAE's latents say about labelled documents: every figure of probes.json, beside its controls and with its interval.
import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { Link, useParams } from "wouter";

import { $api, client } from "../api/client";
import { toProblem } from "../api/problem";
import type { Artifact } from "../api/schema";
import { featurePath } from "../app/paths";
import { useUrlState } from "../app/urlState";
import { ArtifactLink } from "../components/ArtifactLink";
import { ArtifactLead, DeleteArtifact, Labels, Provenance, titleOf } from "../components/ArtifactParts";
import { CopyJson } from "../components/CopyJson";
import { Facts, JsonLink } from "../components/Facts";
import { type Figure, FigureTable, type Interval, interval } from "../components/FigureTable";
import { Page, Section } from "../components/Page";
import { ShownText } from "../components/ShownText";
import { Loaded } from "../components/States";
import { whole } from "../format";

interface ByK extends Figure { k: number }
interface ProbedClass { class: string; train: number; test: number; whole_hook: Interval; sparse_probing: (ByK & { latents: number[] })[] }
interface Ablated { ablated: number; tpp: Figure; intended: Figure; unintended: Figure }
interface Perturbation { reason?: string; rows?: Ablated[]; latents?: Record<string, number[]> }
interface Spurious {
  reason?: string; documents?: { class: string; value: string; documents: number }[]; train?: number; test?: number;
  biased?: Interval; oracle?: Interval; spurious_value?: Interval; gap?: Interval; latents?: number[];
  rows?: { ablated: number; accuracy: Figure; scr?: Figure }[];
}
interface Body {
  method: string; split: string; class_column: string; whole_hook: Interval; sparse_probing: ByK[]; classes: ProbedClass[];
  documents: Record<string, number>; excluded: Record<string, number>; perturbation: Perturbation; spurious: Spurious | null;
}

export default function ProbesPage() {
  const { id } = useParams<{ id: string }>();
  const probes = $api.useQuery("get", "/v1/probes/{id}", { params: { path: { id } } });
  const data = probes.data as Artifact | undefined;
  return (
    <Page
      title={data ? `Probes ${titleOf(data, id)}` : id}
      actions={data && <DeleteArtifact item={data} kind="probes" />}
      lead={data && <><ArtifactLead item={data} /> · of <ArtifactLink reference={data.inputs["sae"]!} /> on <ArtifactLink reference={data.inputs["tokens"]!} /> · <JsonLink href={data.url} /></>}
    >
      <Loaded query={probes} what="the probes">
        {(found) => (
          <>
            <Figures id={id} sae={(found as Artifact).inputs["sae"]!} />
            <Labels item={found as Artifact} kind="probes" />
            <Provenance item={found as Artifact} />
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Figures({ id, sae }: { id: string; sae: string }) {
  const file = `/v1/probes/${id}/files/probes.json`;
  const figures = useQuery({
    queryKey: ["probes.json", id],
    staleTime: Infinity,
    queryFn: async ({ signal }) => {
      const { data, error } = await client.GET("/v1/probes/{id}/files/{file_name}", { params: { path: { id, file_name: "probes.json" } }, signal });
      if (data === undefined) throw toProblem(error);
      return data as unknown as Body;
    },
  });
  const features = $api.useQuery("get", "/v1/features", { params: { query: { sae: [sae], limit: 1 } as never } });
  const extracted = features.data?.items[0]?.ref;
  const json = <JsonLink href={file} />;
  return (
    <Loaded query={figures} what="the figures">
      {(body) => (
        <>
          <Overview body={body} />
          <Section title="Sparse probing" beside={<>{json}<CopyJson value={body} what="All figures" /></>}>
            <p className="quiet">
              Accuracy on test documents of probes that read the k latents whose mean codes differ most between a class and the others; the mean over classes, 0.5 by chance.
              A probe on all dimensions of the hook reaches {interval(body.whole_hook)}. Believe the differences: random latents of a wide SAE tell many classes apart.
            </p>
            <FigureTable caption="Accuracy of sparse probes, the mean over classes" head={["Latents (k)"]} rows={body.sparse_probing.map((row) => ({ key: String(row.k), head: [whole(row.k)], figure: row }))} />
          </Section>
          <Section title="Targeted probe perturbation (TPP)" beside={json}><PerturbationFigures found={body.perturbation} /></Section>
          <Section title="Spurious correlation removal (SCR)" beside={json}><SpuriousFigures found={body.spurious} features={extracted} /></Section>
          <Section title="Each class" beside={json}><Classes body={body} features={extracted} /></Section>
        </>
      )}
    </Loaded>
  );
}

function Overview({ body }: { body: Body }) {
  const { documents, excluded } = body;
  const left = Object.entries(excluded).filter(([, count]) => count > 0);
  return (
    <>
      <Facts facts={[
        ["Column of the classes", <ShownText key="c" text={body.class_column} most={60} />], ["Classes", whole(body.classes.length)],
        ["Training documents", whole(documents["train"] ?? 0)], ["Test documents", whole(documents["test"] ?? 0)], ["Data positions", whole(documents["positions"] ?? 0)],
        ["Without a label", whole(documents["unlabelled"] ?? 0)], ["Not read", whole(documents["unread"] ?? 0)], ["Without data", whole(documents["without_data"] ?? 0)],
      ]} />
      <p className="quiet">
        {body.method} Documents of the split {body.split}.
        {left.length > 0 && ` Positions that were left out: ${left.map(([role, count]) => `${whole(count)} ${role.replaceAll("_", " ")}`).join(", ")}.`}
      </p>
    </>
  );
}

const LOST = [["tpp", "TPP"], ["intended", "lost by the class’s own probe"], ["unintended", "lost by the other probes"]] as const;

function PerturbationFigures({ found }: { found: Perturbation }) {
  if (!found.rows) return <p className="quiet">It was not measured: <ShownText text={found.reason ?? "there is no reason"} />.</p>;
  return (
    <>
      <p className="quiet">Accuracy that a class’s probe on the hook loses when the latents that add most to it are ablated, less what the other classes’ probes lose by that; means over classes.</p>
      <FigureTable
        caption="Accuracy that probes lose when latents are ablated" head={["Latents ablated", "Figure"]}
        rows={found.rows.flatMap((row) => LOST.map(([name, title]) => ({ key: `${row.ablated} ${name}`, head: [whole(row.ablated), title], figure: row[name] })))}
      />
    </>
  );
}

function SpuriousFigures({ found, features }: { found: Spurious | null; features: string | undefined }) {
  if (found === null) return <p className="quiet">It was not measured: the config names no <code>spurious</code> column.</p>;
  const { rows, biased, oracle, gap, spurious_value: value } = found;
  if (!rows || !biased || !oracle || !gap || !value) return <p className="quiet">It was not measured: <ShownText text={found.reason ?? "there is no reason"} />.</p>;
  const shown = rows.flatMap((row) => [
    ...(row.scr ? [{ key: `${row.ablated} scr`, head: [whole(row.ablated), "SCR"], figure: row.scr }] : []),
    { key: `${row.ablated} accuracy`, head: [whole(row.ablated), "accuracy of the biased probe"], figure: row.accuracy },
  ]);
  return (
    <>
      <p className="quiet">
        The share of the accuracy that a bias costs which comes back when the latents that matter most to the spurious value are ablated: 1 all of it, 0 nothing.
        {found.reason && <> Here it is not defined: <ShownText text={found.reason} />.</>}
      </p>
      <Facts facts={[["Biased probe", interval(biased)], ["Oracle, trained on balanced documents", interval(oracle)], ["What the bias costs", interval(gap, true)], ["Probe of the spurious value", interval(value)]]} />
      <FigureTable caption="Spurious correlation removal" head={["Latents ablated", "Figure"]} rows={shown} />
      <p className="quiet">
        {whole(found.train ?? 0)} biased training documents, {whole(found.test ?? 0)} balanced test documents. All documents:{" "}
        {(found.documents ?? []).map((one, i) => <span key={i}>{i > 0 && ", "}{whole(one.documents)} <ShownText text={`${one.class} with ${one.value}`} most={120} /></span>)}.
      </p>
      <p>Latents in the order in which they are ablated: <Latents latents={found.latents ?? []} features={features} /></p>
    </>
  );
}

/** Each class at one k, which the address has. */
function Classes({ body, features }: { body: Body; features: string | undefined }) {
  const [search, set] = useUrlState();
  const all = body.sparse_probing.map((row) => row.k);
  const asked = Number(search.get("k"));
  const k = all.includes(asked) ? asked : Math.max(...all);
  const rows = body.classes.map((one) => {
    const found = one.sparse_probing.find((row) => row.k === k)!;
    const named: ReactNode = <ShownText text={one.class} most={80} />;
    const latents = <Latents latents={found.latents} features={features} />;
    const ablated = body.perturbation.latents?.[one.class];
    return {
      key: one.class, figure: found, head: [named, `${whole(one.train)} / ${whole(one.test)}`, interval(one.whole_hook)],
      tail: [latents, ablated ? <Latents key="a" latents={ablated} features={features} /> : "–"],
    };
  });
  return (
    <>
      <div className="controls">
        <label>Latents that a probe reads (k){" "}
          <select value={k} onChange={(event) => set({ k: event.target.value })}>{all.map((one) => <option key={one} value={one}>{one}</option>)}</select>
        </label>
      </div>
      <FigureTable
        caption={`Accuracy of each class’s probe on ${whole(k)} ${k === 1 ? "latent" : "latents"}`}
        head={["Class", "Documents, train / test", "Whole hook"]} tail={["Latents of the probe", "Latents ablated for TPP"]} rows={rows}
      />
    </>
  );
}

const FIRST = 20; // of a list of latents that is shown at once

/** Latents, as links to their features where these were extracted. */
function Latents({ latents, features }: { latents: number[]; features: string | undefined }) {
  const links = (some: number[]) => some.map((one) => <span key={one} className="chip">{features ? <Link href={featurePath(features, one)}>{one}</Link> : one}</span>);
  return (
    <span className="wrap">
      {links(latents.slice(0, FIRST))}
      {latents.length > FIRST && <details><summary>{whole(latents.length - FIRST)} more</summary>{links(latents.slice(FIRST))}</details>}
    </span>
  );
}
