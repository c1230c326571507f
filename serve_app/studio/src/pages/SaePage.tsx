// One SAE: its figures, the truth card of its last evaluation, training curves, and what to do next.
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useLocation, useParams } from "wouter";

import { $api, client } from "../api/client";
import { toProblem } from "../api/problem";
import type { Artifact } from "../api/schema";
import { useMayWrite } from "../api/session";
import { jobPath } from "../app/paths";
import { ArtifactLink } from "../components/ArtifactLink";
import { ArtifactLead, DeleteArtifact, Known, Labels, numberAt, Provenance, titleOf, Users } from "../components/ArtifactParts";
import { JsonLink } from "../components/Facts";
import { LineChart } from "../components/LineChart";
import { Page, Section } from "../components/Page";
import { ProblemNotice } from "../components/Problem";
import { Loaded } from "../components/States";
import { useToast } from "../components/Toasts";
import { TruthCard } from "../components/TruthCard";
import { short, whole } from "../format";

export default function SaePage() {
  const { id } = useParams<{ id: string }>();
  const sae = $api.useQuery("get", "/v1/saes/{id}", { params: { path: { id } } });
  const data = sae.data as Artifact | undefined;
  return (
    <Page
      title={data ? `SAE ${titleOf(data, id)}` : id}
      actions={data && <><Next sae={data} /><DeleteArtifact item={data} kind="saes" /></>}
      lead={data && <><ArtifactLead item={data} /> · <JsonLink href={data.url} /></>}
    >
      <Loaded query={sae} what="the SAE">{(found) => <Details sae={found as Artifact} />}</Loaded>
    </Page>
  );
}

function Details({ sae }: { sae: Artifact }) {
  const fields = sae.fields as Record<string, unknown>;
  const number = (name: string, show: (n: number) => string = whole) => { const n = numberAt(fields, name); return n === null ? "–" : show(n); };
  return (
    <>
      <Known facts={[
        ["Architecture", String(fields["architecture"] ?? "–")], ["Hook", String(fields["hook"] ?? "–")], ["Latents", number("d_sae")], ["k", number("k")],
        ["Explained variance", number("ev", short)], ["L0", number("l0", short)], ["Alive", number("alive")],
      ]} />
      <Truth evaluation={fields["evaluation"] as string | undefined} />
      <Users kind="features" field="sae" reference={sae.ref} title="Its features" />
      <Curves id={sae.id} />
      <Users kind="evaluations" field="sae" reference={sae.ref} title="Evaluations" />
      <Users kind="probes" field="sae" reference={sae.ref} title="Probes on labelled documents" />
      <Labels item={sae} kind="saes" />
      <Provenance item={sae} />
    </>
  );
}

function Truth({ evaluation }: { evaluation: string | undefined }) {
  const metrics = useQuery({
    queryKey: ["evaluation metrics", evaluation],
    enabled: evaluation !== undefined,
    staleTime: Infinity,
    queryFn: async ({ signal }) => {
      const { data, error } = await client.GET("/v1/evaluations/{id}/files/{file_name}", { params: { path: { id: evaluation!.split("/")[1]!, file_name: "metrics.json" } }, signal });
      if (data === undefined) throw toProblem(error);
      return data as unknown;
    },
  });
  if (evaluation === undefined) return <Section title="Truth card"><p className="quiet">It was not evaluated yet. “Evaluate” measures it on held-out rows.</p></Section>;
  return (
    <Section title="Truth card" beside={<><ArtifactLink reference={evaluation} /><JsonLink href={`/v1/${evaluation}/files/metrics.json`} /></>}>
      <Loaded query={metrics} what="the metrics">{(found) => <TruthCard metrics={found} />}</Loaded>
    </Section>
  );
}

// How far a step is, not what it measured.
const PLACES = new Set(["step", "rows", "tokens"]);
const TITLES: Record<string, string> = { mse: "Mean squared error", l0: "L0", dead: "Dead latents", aux: "Auxiliary loss", lr: "Learning rate", fvu: "FVU" };

function Curves({ id }: { id: string }) {
  const curves = $api.useQuery("get", "/v1/saes/{id}/curves", { params: { path: { id }, query: { points: 500 } } }, { retry: false });
  if (curves.isError && toProblem(curves.error).status === 404) return <Section title="Training curves"><p className="quiet">It was not trained here: there are no curves.</p></Section>;
  return (
    <Section title="Training curves" beside={<JsonLink href={`/v1/saes/${id}/curves`} />}>
      <Loaded query={curves} what="the curves">
        {({ columns }) => {
          const x = (columns["step"] ?? []) as number[];
          return (
            <div className="charts">
              {Object.entries(columns).filter(([name]) => !PLACES.has(name)).map(([name, values]) => (
                <LineChart key={name} title={TITLES[name] ?? name} xLabel="step" x={x} curves={[{ name: TITLES[name] ?? name, values }]} syncKey={`sae-${id}`} />
              ))}
            </div>
          );
        }}
      </Loaded>
    </Section>
  );
}

/** Extracts features or evaluates, with the stage's own defaults. */
function Next({ sae }: { sae: Artifact }) {
  const [, go] = useLocation();
  const toast = useToast();
  const extract = $api.useMutation("post", "/v1/features");
  const evaluate = $api.useMutation("post", "/v1/evaluations");
  const [error, setError] = useState<unknown>(null);
  if (!useMayWrite()) return null;
  const run = async (mutation: typeof extract | typeof evaluate, says: string) => {
    setError(null);
    try {
      const accepted = await mutation.mutateAsync({ body: { sae: sae.ref } as never });
      const [made] = accepted.artifacts;
      toast(accepted.created ? says : "An equal result is there already, or is being made.");
      go(accepted.job.state === "SUCCEEDED" && made ? `/${made}` : jobPath(accepted.job.id));
    } catch (problem) {
      setError(problem);
    }
  };
  const busy = extract.isPending || evaluate.isPending;
  return (
    <>
      <button type="button" className="primary" disabled={busy} onClick={() => void run(extract, "Its features are being extracted.")}>Extract features</button>
      <button type="button" disabled={busy} onClick={() => void run(evaluate, "It is being evaluated.")}>Evaluate</button>
      <Link href={`/probes/new?sae=${sae.ref}`} className="button">Probe</Link>
      {error !== null && <ProblemNotice error={error} what="It was not started" />}
    </>
  );
}
