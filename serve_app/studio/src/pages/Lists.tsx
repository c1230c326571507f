// People's lists of features, by name.
import { useLocation } from "wouter";

import { useCursorPages } from "../api/pages";
import type { FeatureList } from "../api/schema";
import { useMayWrite } from "../api/session";
import { listPath } from "../app/paths";
import { type Column, DataTable } from "../components/DataTable";
import { JsonLink, Moment } from "../components/Facts";
import { ListLink, NewList } from "../components/ListForms";
import { Page } from "../components/Page";
import { ShownText } from "../components/ShownText";
import { Empty, Loaded } from "../components/States";
import { whole } from "../format";

const COLUMNS: Column<FeatureList>[] = [
  { id: "name", header: "List", value: (row) => row.name, cell: (row) => <ListLink list={row} /> },
  { id: "features", header: "Features", value: (row) => row.features, cell: (row) => whole(row.features), numeric: true },
  { id: "by", header: "Made by", value: (row) => row.created_by, cell: (row) => <ShownText text={row.created_by} most={60} />, wide: true },
  { id: "created", header: "Made", value: (row) => row.created_at, cell: (row) => <Moment at={row.created_at} /> },
];

export default function Lists() {
  const { query, rows, more } = useCursorPages("/v1/lists", { limit: 100 });
  const mayWrite = useMayWrite();
  const [, go] = useLocation();
  return (
    <Page title="Lists" lead="Features that belong together, of any SAEs." actions={<JsonLink href="/v1/lists" />}>
      {mayWrite && <NewList onMade={(list) => go(listPath(list.id))} />}
      <Loaded query={query} what="the lists">
        {() => (
          <DataTable caption="Lists of features" columns={COLUMNS} rows={rows} rowKey={(row) => row.id} onEnd={more}
            empty={<Empty title="There are no lists yet.">A feature’s page and the table of all features put features on a list.</Empty>} />
        )}
      </Loaded>
    </Page>
  );
}
