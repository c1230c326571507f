// The list of probes: what the latents of SAEs say about labelled documents.
import { Link } from "wouter";

import type { ArtifactItem } from "../api/schema";
import { useMayWrite } from "../api/session";
import { ArtifactLink } from "../components/ArtifactLink";
import { ArtifactList, fieldColumn } from "../components/ArtifactList";
import { at } from "../components/ArtifactParts";
import type { Column } from "../components/DataTable";
import { JsonLink } from "../components/Facts";
import { Page } from "../components/Page";
import { Empty } from "../components/States";
import { fixed, whole } from "../format";

/** A figure at the largest size that was measured, and that of as many random latents. */
function figureColumn(id: string, header: string, title: string): Column<ArtifactItem> {
  return {
    ...fieldColumn(id, header, (value) => fixed(value as number, 3), title),
    cell: ({ fields, summary }) => {
      if (fields[id] == null) return "–";
      const control = at(summary, `${id}_of_controls`, "random latents");
      return <>{fixed(fields[id] as number, 3)}{typeof control === "number" && <span className="quiet"> ({fixed(control, 3)})</span>}</>;
    },
  };
}

const COLUMNS: Column<ArtifactItem>[] = [
  { ...fieldColumn("sae", "SAE"), wide: true, cell: (row) => (row.fields["sae"] == null ? "–" : <ArtifactLink reference={String(row.fields["sae"])} />) },
  { ...fieldColumn("column", "Column", undefined, "Column of the classes"), wide: true },
  { ...fieldColumn("classes", "Classes", (value) => whole(value as number)), wide: true },
  figureColumn("accuracy", "Accuracy", "Accuracy of sparse probes at the largest k, mean over classes"),
  figureColumn("tpp", "TPP", "Targeted probe perturbation at the most ablated latents"),
  { ...figureColumn("scr", "SCR", "Spurious correlation removal at the most ablated latents"), wide: true },
];

export default function Probes() {
  const add = <Link href="/probes/new" className="button primary">Probe an SAE</Link>;
  return (
    <Page
      title="Probes" actions={<>{useMayWrite() && add}<JsonLink href="/v1/probes" /></>}
      lead="What the latents of an SAE say about labelled documents. In brackets, as many random latents of the same SAE."
    >
      <ArtifactList
        kind="probes" caption="Probes" columns={COLUMNS}
        filters={[{ name: "sae", label: "SAE" }, { name: "column", label: "Column" }]}
        empty={<Empty title="No SAE was probed yet.">{add}</Empty>}
      />
    </Page>
  );
}
