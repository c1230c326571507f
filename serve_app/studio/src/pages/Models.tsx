// The list of language models.
import { Link } from "wouter";

import type { ArtifactItem } from "../api/schema";
import { useMayWrite } from "../api/session";
import { ArtifactList, fieldColumn } from "../components/ArtifactList";
import type { Column } from "../components/DataTable";
import { JsonLink } from "../components/Facts";
import { Page } from "../components/Page";
import { Empty } from "../components/States";
import { short, whole } from "../format";

const COLUMNS: Column<ArtifactItem>[] = [
  { ...fieldColumn("architecture", "Architecture"), wide: true },
  fieldColumn("parameters", "Parameters", (value) => short(value as number)),
  fieldColumn("layers", "Blocks", (value) => whole(value as number)),
  fieldColumn("d_model", "Width", (value) => whole(value as number), "Width of the residual stream"),
];

export default function Models() {
  const add = <Link href="/models/new" className="button primary">Register a model</Link>;
  return (
    <Page title="Models" lead="Language models whose activations SAEs are trained on." actions={<>{useMayWrite() && add}<JsonLink href="/v1/models" /></>}>
      <ArtifactList kind="models" caption="Models" columns={COLUMNS} empty={<Empty title="There are no models yet.">{add}</Empty>} />
    </Page>
  );
}
