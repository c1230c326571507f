// The form of a training run: model, tokens, a grid of SAEs, and what the API expects the run to need.
import { useEffect, useMemo, useState } from "react";
import { useLocation, useSearch } from "wouter";

import { $api, client } from "../api/client";
import { toProblem } from "../api/problem";
import type { TrainingPlan } from "../api/schema";
import { jobPath } from "../app/paths";
import { Facts } from "../components/Facts";
import { Page, Section } from "../components/Page";
import { ProblemNotice } from "../components/Problem";
import { ShownText } from "../components/ShownText";
import { useToast } from "../components/Toasts";
import { ArtifactField } from "../form/ArtifactField";
import type { FieldProps } from "../form/Field";
import { SaeGrid } from "../form/SaeGrid";
import { SchemaForm } from "../form/SchemaForm";
import { bytes, counted, short, whole } from "../format";

const GROUPS = [
  { title: "Model and tokens", fields: ["model", "tokens"] },
  { title: "SAEs", fields: ["saes"] },
  { title: "How much", fields: ["rows", "epochs", "batch_rows", "split", "seed"] },
  { title: "Name", fields: ["name", "tags", "notes"], closed: true },
];

export default function NewSaes() {
  const search = new URLSearchParams(useSearch());
  const create = $api.useMutation("post", "/v1/saes");
  const toast = useToast();
  const [, go] = useLocation();
  const [body, setBody] = useState<Record<string, unknown>>({});
  const initial = useMemo(() => Object.fromEntries(["model", "tokens"].map((name) => [name, search.get(name)]).filter(([, value]) => value)) as Record<string, unknown>,
    // eslint-disable-next-line react-hooks/exhaustive-deps
    []);
  const custom = useMemo(() => ({
    model: (field: FieldProps) => <ArtifactField {...field} kind="models" />,
    tokens: (field: FieldProps) => <ArtifactField {...field} kind="tokens" />,
    saes: (field: FieldProps) => <SaeGrid {...field} />,
  }), []);
  return (
    <Page title="Train SAEs" lead="All SAEs of a run read the same activations: one pass of the language model trains them all.">
      <div className="form-and-preview">
        <SchemaForm
          schema="TrainRequest" submit="Train" draft="saes" groups={GROUPS} custom={custom} hide={["stage", "grid"]} initial={initial} onChange={setBody}
          onSubmit={async (sent) => {
            const accepted = await create.mutateAsync({ body: sent as never });
            toast(accepted.created ? "The run was submitted." : "Equal SAEs are there already, or are being trained.");
            const [made] = accepted.artifacts;
            go(accepted.job.state === "SUCCEEDED" && made ? `/${made}` : jobPath(accepted.job.id));
          }}
        />
        <Plan body={body} />
      </div>
    </Page>
  );
}

/** What `POST /v1/saes/plan` says of the form as it is now. */
function Plan({ body }: { body: Record<string, unknown> }) {
  const [plan, setPlan] = useState<TrainingPlan | null>(null);
  const [problem, setProblem] = useState<unknown>(null);
  const ready = Boolean(body["model"] && body["tokens"] && Array.isArray(body["saes"]) && body["saes"].length > 0);
  const request = JSON.stringify(body);
  useEffect(() => {
    if (!ready) return;
    const stop = new AbortController();
    const timer = setTimeout(() => {
      void client.POST("/v1/saes/plan", { body: JSON.parse(request) as never, signal: stop.signal }).then(
        ({ data, error }) => { setPlan(data ?? null); setProblem(data === undefined ? toProblem(error) : null); },
        (error: unknown) => { if (!stop.signal.aborted) setProblem(error); },
      );
    }, 300);
    return () => { clearTimeout(timer); stop.abort(); };
  }, [request, ready]);
  return (
    <aside className="preview card" aria-label="Plan">
      <Section title="What it would take">
        {!ready ? <p className="quiet">Choose a model, tokens and SAEs.</p> : problem !== null ? <ProblemNotice error={problem} what="There is no plan" /> : plan === null ? <p className="quiet" role="status">Asking …</p> : (
          <div aria-live="polite">
            <Facts facts={[
              ["SAEs", whole((body["saes"] as unknown[]).length)], ["Steps", plan.steps === null ? null : whole(plan.steps)], ["Positions", plan.tokens === null ? null : whole(plan.tokens)],
              ["Operations", plan.flops === null ? null : short(plan.flops.total)], ["Memory of a worker", plan.memory_bytes === null ? null : bytes(plan.memory_bytes)],
              ["Memory it asks for", plan.memory_granted === null ? null : bytes(plan.memory_granted)], ["Disk, at most", plan.disk_bytes === null ? null : bytes(plan.disk_bytes)], ["Workers", whole(plan.workers)],
            ]} />
            {plan.missing.length > 0 && <p>{counted(plan.missing.length, "input")} missing: {plan.missing.join(", ")}</p>}
            {plan.warnings.map((warning) => <p key={warning} className="notice"><ShownText text={warning} /></p>)}
          </div>
        )}
      </Section>
    </aside>
  );
}
