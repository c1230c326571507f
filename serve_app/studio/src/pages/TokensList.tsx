// The list of tokenizations.
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
  fieldColumn("tokens", "Tokens", (value) => short(value as number)),
  fieldColumn("rows", "Rows", (value) => whole(value as number)),
  fieldColumn("context_length", "Row length", (value) => whole(value as number)),
  { ...fieldColumn("dataset", "Dataset"), wide: true },
];

export default function TokensList() {
  const add = <Link href="/tokens/new" className="button primary">Tokenize a dataset</Link>;
  return (
    <Page title="Tokens" lead="A dataset in rows of tokens, as one model's tokenizer makes them. Each token has a role; padding, BOS and separators are never data." actions={<>{useMayWrite() && add}<JsonLink href="/v1/tokens" /></>}>
      <ArtifactList kind="tokens" caption="Tokenizations" columns={COLUMNS} empty={<Empty title="Nothing is tokenized yet.">{add}</Empty>} />
    </Page>
  );
}
