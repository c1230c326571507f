// The list of datasets.
import { Link } from "wouter";

import type { ArtifactItem } from "../api/schema";
import { useMayWrite } from "../api/session";
import { ArtifactList, fieldColumn } from "../components/ArtifactList";
import type { Column } from "../components/DataTable";
import { JsonLink } from "../components/Facts";
import { Page } from "../components/Page";
import { Empty } from "../components/States";
import { bytes, whole } from "../format";

const COLUMNS: Column<ArtifactItem>[] = [
  fieldColumn("documents", "Documents", (value) => whole(value as number)),
  fieldColumn("text_bytes", "Text", (value) => bytes(value as number), "Bytes of all texts in UTF-8"),
];

export default function Datasets() {
  const add = <Link href="/datasets/new" className="button primary">Add a dataset</Link>;
  return (
    <Page title="Datasets" lead="A dataset is documents with their splits: what models read, and SAEs learn from." actions={<>{useMayWrite() && add}<JsonLink href="/v1/datasets" /></>}>
      <ArtifactList kind="datasets" caption="Datasets" columns={COLUMNS} empty={<Empty title="There are no datasets yet.">{add}</Empty>} />
    </Page>
  );
}
