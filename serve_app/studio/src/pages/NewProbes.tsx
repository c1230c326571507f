// The form of probes: an SAE, labelled tokens, and which column of them has the classes.
import { useMemo, useState } from "react";
import { useLocation, useSearch } from "wouter";

import { $api } from "../api/client";
import { jobPath } from "../app/paths";
import { Page } from "../components/Page";
import { useToast } from "../components/Toasts";
import { ArtifactField } from "../form/ArtifactField";
import type { FieldProps } from "../form/Field";
import { JobCheck } from "../form/JobCheck";
import { SchemaForm } from "../form/SchemaForm";

const GROUPS = [
  { title: "SAE and labelled documents", fields: ["sae", "tokens", "class_column"] },
  { title: "Classes and documents", fields: ["classes", "max_classes", "min_documents", "documents_per_class", "test_fraction", "split"], closed: true },
  { title: "What is measured", fields: ["k", "ablated", "spurious", "compare_with", "draws", "l2", "seed"] },
  { title: "Name", fields: ["name", "tags", "notes"], closed: true },
];
const LABELS = {
  sae: "SAE", k: "Latents of a probe (k)", ablated: "Latents to ablate", l2: "L2 penalty", compare_with: "SAEs beside it",
  spurious: "Spurious column", "spurious.column": "Spurious column", "spurious.values": "Spurious values", "spurious.classes": "Classes that go with them",
};

export default function NewProbes() {
  const search = new URLSearchParams(useSearch());
  const create = $api.useMutation("post", "/v1/probes");
  const toast = useToast();
  const [, go] = useLocation();
  const [body, setBody] = useState<Record<string, unknown>>({});
  const initial = useMemo(() => Object.fromEntries(["sae", "tokens"].map((name) => [name, search.get(name)]).filter(([, value]) => value)) as Record<string, unknown>,
    // eslint-disable-next-line react-hooks/exhaustive-deps
    []);
  const custom = useMemo(() => ({
    sae: (field: FieldProps) => <ArtifactField {...field} kind="saes" />,
    tokens: (field: FieldProps) => <ArtifactField {...field} kind="tokens" />,
  }), []);
  return (
    <Page title="Probe an SAE" lead="It needs tokens with one document a row (packing off) that keep the columns of labels (metadata columns).">
      <SchemaForm
        schema="ProbeRequest" submit="Probe" draft={`probes-${search.get("sae") ?? ""}`} groups={GROUPS} labels={LABELS} custom={custom} hide={["stage"]} initial={initial} onChange={setBody}
        onSubmit={async (sent) => {
          const accepted = await create.mutateAsync({ body: sent as never });
          toast(accepted.created ? "It is being probed." : "Equal probes are there already, or are being made.");
          const [made] = accepted.artifacts;
          go(accepted.job.state === "SUCCEEDED" && made ? `/${made}` : jobPath(accepted.job.id));
        }}
      >
        <JobCheck stage="probe" body={body} ready={Boolean(body["sae"] && body["tokens"] && body["class_column"])} />
      </SchemaForm>
    </Page>
  );
}
