// The list of SAEs, and their explained variance against L0 as a plot whose points lead to them.
import { Link } from "wouter";

import { $api } from "../api/client";
import type { ArtifactItem } from "../api/schema";
import { useMayWrite } from "../api/session";
import { ArtifactList, fieldColumn } from "../components/ArtifactList";
import type { Column } from "../components/DataTable";
import { JsonLink } from "../components/Facts";
import { Page, Section } from "../components/Page";
import { ParetoPlot } from "../components/ParetoPlot";
import { Empty, Loaded } from "../components/States";
import { fixed, short, whole } from "../format";

const COLUMNS: Column<ArtifactItem>[] = [
  fieldColumn("architecture", "Architecture"),
  { ...fieldColumn("hook", "Hook"), wide: true },
  fieldColumn("d_sae", "Latents", (value) => whole(value as number)),
  { ...fieldColumn("k", "k", (value) => whole(value as number), "Latents that TopK and BatchTopK keep"), wide: true },
  fieldColumn("ev", "EV", (value) => fixed(value as number, 3), "Explained variance on held-out data, of its last evaluation"),
  fieldColumn("l0", "L0", (value) => short(value as number), "Active latents at a data position, mean"),
  { ...fieldColumn("alive", "Alive", (value) => whole(value as number), "Latents that were active at least once"), wide: true },
];

export default function Saes() {
  const train = <Link href="/saes/new" className="button primary">Train SAEs</Link>;
  return (
    <Page title="SAEs" lead="Sparse autoencoders, with the figures of their last evaluation." actions={<>{useMayWrite() && train}<JsonLink href="/v1/saes" /></>}>
      <Pareto />
      <ArtifactList
        kind="saes" caption="SAEs" columns={COLUMNS}
        filters={[
          { name: "architecture", label: "Architecture" }, { name: "hook", label: "Hook" }, { name: "d_sae", label: "Latents", numeric: true },
          { name: "min_ev", label: "EV, at least", numeric: true }, { name: "max_l0", label: "L0, at most", numeric: true },
        ]}
        empty={<Empty title="There are no SAEs yet.">{train}</Empty>}
      />
    </Page>
  );
}

function Pareto() {
  const found = $api.useQuery("get", "/v1/saes", { params: { query: { limit: 200 } } });
  const measured = (found.data?.items ?? []).filter((item) => item.fields["ev"] != null && item.fields["l0"] != null);
  if (found.isSuccess && measured.length === 0) return null;
  return (
    <Section title="Explained variance against L0">
      <Loaded query={found} what="the figures">{() => <ParetoPlot saes={measured} />}</Loaded>
    </Section>
  );
}
