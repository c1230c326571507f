// The form of a training run: model, tokens, a grid of SAEs, and what the API expects the run to need.
import { useMemo, useState } from "react";
import { useLocation, useSearch } from "wouter";

import { $api } from "../api/client";
import type { TrainingPlan } from "../api/schema";
import { jobPath } from "../app/paths";
import { Facts } from "../components/Facts";
import { Page, Section } from "../components/Page";
import { ShownText } from "../components/ShownText";
import { useToast } from "../components/Toasts";
import { ArtifactField } from "../form/ArtifactField";
import type { FieldProps } from "../form/Field";
import { JobCheck } from "../form/JobCheck";
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
  const model = typeof body["model"] === "string" ? body["model"] : undefined;
  const initial = useMemo(() => Object.fromEntries(["model", "tokens"].map((name) => [name, search.get(name)]).filter(([, value]) => value)) as Record<string, unknown>,
    // eslint-disable-next-line react-hooks/exhaustive-deps
    []);
  const custom = useMemo(() => ({
    model: (field: FieldProps) => <ArtifactField {...field} kind="models" />,
    tokens: (field: FieldProps) => <ArtifactField {...field} kind="tokens" />,
    saes: (field: FieldProps) => <SaeGrid {...field} model={model} />,
  }), [model]);
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

/** Whether the form as it is now fits, and what it would read and take. */
function Plan({ body }: { body: Record<string, unknown> }) {
  const saes = Array.isArray(body["saes"]) ? body["saes"].length : 0;
  const ready = Boolean(body["model"] && body["tokens"] && saes > 0);
  return (
    <aside className="preview card" aria-label="Plan">
      <Section title="What it would take">
        {!ready && <p className="quiet">Choose a model, tokens and SAEs.</p>}
        <JobCheck stage="train" body={body} ready={ready}>{(plan) => <Figures plan={plan} saes={saes} />}</JobCheck>
      </Section>
    </aside>
  );
}

function Figures({ plan, saes }: { plan: TrainingPlan; saes: number }) {
  return (
    <div aria-live="polite">
      <Facts facts={[
        ["SAEs", whole(saes)], ["Steps", plan.steps === null ? null : whole(plan.steps)], ["Positions", plan.tokens === null ? null : whole(plan.tokens)],
        ["Operations", plan.flops === null ? null : short(plan.flops.total)], ["Memory of a worker", plan.memory_bytes === null ? null : bytes(plan.memory_bytes)],
        ["Memory it asks for", plan.memory_granted === null ? null : bytes(plan.memory_granted)], ["Disk, at most", plan.disk_bytes === null ? null : bytes(plan.disk_bytes)], ["Workers", whole(plan.workers)],
      ]} />
      {plan.missing.length > 0 && <p>{counted(plan.missing.length, "input")} missing: {plan.missing.join(", ")}</p>}
      {plan.warnings.map((warning) => <p key={warning} className="notice"><ShownText text={warning} /></p>)}
    </div>
  );
}
