// The list of extracted features, one row an SAE and split.
import { Link } from "wouter";

import type { ArtifactItem } from "../api/schema";
import { ArtifactList, fieldColumn } from "../components/ArtifactList";
import type { Column } from "../components/DataTable";
import { JsonLink } from "../components/Facts";
import { Page } from "../components/Page";
import { Empty } from "../components/States";
import { short, whole } from "../format";

const COLUMNS: Column<ArtifactItem>[] = [
  { ...fieldColumn("hook", "Hook"), wide: true },
  fieldColumn("n_features", "Features", (value) => whole(value as number)),
  { ...fieldColumn("alive", "Alive", (value) => whole(value as number), "Features that were active at least once"), wide: true },
  { ...fieldColumn("l0", "L0", (value) => short(value as number), "Active features at a data position, mean"), wide: true },
];

export default function FeaturesList() {
  return (
    <Page title="Features" lead="What the latents of an SAE respond to: statistics and examples of each one." actions={<JsonLink href="/v1/features" />}>
      <ArtifactList kind="features" caption="Features" columns={COLUMNS}
        empty={<Empty title="No features were extracted yet.">Open one of the <Link href="/saes">SAEs</Link> and choose “Extract features”.</Empty>} />
    </Page>
  );
}
