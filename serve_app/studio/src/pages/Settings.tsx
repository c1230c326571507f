// Theme, session, API tokens, versions and licences.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { $api } from "../api/client";
import type { AccessToken, Library, NewAccessToken } from "../api/schema";
import { useMayWrite, useSession } from "../api/session";
import { chooseTheme, storedTheme, type Theme, THEMES } from "../app/theme";
import { Confirm } from "../components/Confirm";
import { type Column, DataTable } from "../components/DataTable";
import { Facts, Moment } from "../components/Facts";
import { Page, Section } from "../components/Page";
import { Empty, Loaded } from "../components/States";
import { useToast } from "../components/Toasts";
import { SchemaForm } from "../form/SchemaForm";
import { moment } from "../format";

export default function Settings() {
  const session = useSession().data;
  return (
    <Page title="Settings">
      <Section title="Theme"><ThemeChoice /></Section>
      {session && (
        <Section title="Session">
          <Facts facts={[
            ["Signed in as", session.name],
            ["May", session.scopes.includes("write") ? "read and change" : "read"],
            ["Until", session.expires_at && moment(session.expires_at)],
          ]} />
        </Section>
      )}
      <Section title="API tokens"><Tokens /></Section>
      <Section title="About"><About /></Section>
    </Page>
  );
}

function ThemeChoice() {
  const [theme, setTheme] = useState<Theme>(storedTheme);
  return (
    <fieldset className="choices">
      <legend className="hidden">Theme</legend>
      {THEMES.map((one) => (
        <label key={one}>
          <input type="radio" name="theme" checked={theme === one} onChange={() => { setTheme(one); chooseTheme(one); }} /> {one}
        </label>
      ))}
    </fieldset>
  );
}

function Tokens() {
  const queries = useQueryClient();
  const tokens = $api.useQuery("get", "/v1/access-tokens");
  const create = $api.useMutation("post", "/v1/access-tokens");
  const mayWrite = useMayWrite();
  const [made, setMade] = useState<NewAccessToken | null>(null);
  const again = () => queries.invalidateQueries({ queryKey: ["get", "/v1/access-tokens"] });
  return (
    <>
      {made && (
        <div className="notice" role="status">
          <strong>The token of {made.name}. It is shown this once: copy it now.</strong>
          <p><code>{made.token}</code></p>
          <button type="button" onClick={() => void navigator.clipboard.writeText(made.token)}>Copy</button>{" "}
          <button type="button" onClick={() => setMade(null)}>I have it</button>
        </div>
      )}
      <Loaded query={tokens} what="the tokens">
        {(rows) => <DataTable caption="API tokens" columns={mayWrite ? [...TOKENS, REVOKE] : TOKENS} rows={rows} rowKey={(row) => row.id} empty={<Empty title="There are no API tokens." />} />}
      </Loaded>
      {mayWrite && (
        <details>
          <summary>Create a token</summary>
          <SchemaForm
            schema="AccessTokenRequest"
            submit="Create the token"
            onSubmit={async (body) => {
              setMade(await create.mutateAsync({ body: body as never }));
              await again();
            }}
          />
        </details>
      )}
    </>
  );
}

const TOKENS: Column<AccessToken>[] = [
  { id: "name", header: "Name", value: (row) => row.name, sortable: true },
  { id: "scopes", header: "May", value: (row) => row.scopes.join(", ") },
  { id: "state", header: "State", value: (row) => (row.valid ? "valid" : row.revoked_at ? "revoked" : "expired"), sortable: true },
  { id: "created", header: "Made", value: (row) => row.created_at, cell: (row) => <Moment at={row.created_at} />, sortable: true },
  { id: "expires", header: "Expires", value: (row) => row.expires_at, cell: (row) => (row.expires_at ? moment(row.expires_at) : "never") },
];
const REVOKE: Column<AccessToken> = {
  id: "revoke", header: "", value: () => null,
  cell: (row) => (row.valid ? <Revoke token={row} /> : ""),
};

function Revoke({ token }: { token: AccessToken }) {
  const queries = useQueryClient();
  const toast = useToast();
  const revoke = $api.useMutation("delete", "/v1/access-tokens/{id}");
  return (
    <Confirm
      label="Revoke"
      title={`Revoke the token of ${token.name}?`}
      action="Revoke the token"
      onConfirm={async () => {
        await revoke.mutateAsync({ params: { path: { id: token.id } } });
        await queries.invalidateQueries({ queryKey: ["get", "/v1/access-tokens"] });
        toast(`The token of ${token.name} no longer works.`);
      }}
    >
      Programs and browsers that use it are refused at once. This cannot be undone.
    </Confirm>
  );
}

interface Bundled {
  name: string;
  version: string;
  identifier?: string | null;
}

function About() {
  const about = $api.useQuery("get", "/v1/about", {}, { staleTime: Infinity });
  const bundled = useQuery({
    queryKey: ["licenses"],
    staleTime: Infinity,
    queryFn: async () => {
      const answer = await fetch("/assets/licenses.json");
      if (!answer.ok) throw new TypeError("no answer");
      return (await answer.json()) as Bundled[];
    },
  });
  return (
    <Loaded query={about} what="the versions">
      {(data) => (
        <>
          <Facts facts={[["RayLens", data.version], ["Licence", data.license], ["Python", data.python]]} />
          <details>
            <summary>Python packages on the server ({data.libraries.length})</summary>
            <DataTable caption="Python packages" columns={LIBRARIES} rows={data.libraries} rowKey={(row) => row.name} empty="none" />
          </details>
          <details>
            <summary>Libraries in these pages</summary>
            <Loaded query={bundled} what="the licences">
              {(rows) => (
                <DataTable
                  caption="Libraries in these pages"
                  columns={LIBRARIES}
                  rows={rows.map((row) => ({ name: row.name, version: row.version, license: row.identifier ?? "not stated" }))}
                  rowKey={(row) => `${row.name} ${row.version}`}
                  empty="none"
                />
              )}
            </Loaded>
          </details>
        </>
      )}
    </Loaded>
  );
}

const LIBRARIES: Column<Library>[] = [
  { id: "name", header: "Name", value: (row) => row.name, sortable: true },
  { id: "version", header: "Version", value: (row) => row.version },
  { id: "license", header: "Licence", value: (row) => row.license, sortable: true },
];
