// The form of a tokenization, with a preview of a short text as these options tokenize it.
import { useEffect, useMemo, useState } from "react";
import { useLocation, useSearch } from "wouter";

import { client, $api } from "../api/client";
import { toProblem } from "../api/problem";
import type { Preview } from "../api/schema";
import { jobPath } from "../app/paths";
import { Facts } from "../components/Facts";
import { Page, Section } from "../components/Page";
import { ProblemNotice } from "../components/Problem";
import { TokenText } from "../components/TokenText";
import { useToast } from "../components/Toasts";
import { ArtifactField } from "../form/ArtifactField";
import { JobCheck } from "../form/JobCheck";
import { SchemaForm } from "../form/SchemaForm";
import { whole } from "../format";

const GROUPS = [
  { title: "Text and tokenizer", fields: ["dataset", "model"] },
  { title: "Tokens", fields: ["add_special_tokens", "return_attention_mask", "bos", "separator", "special_strings"] },
  { title: "Rows", fields: ["context_length", "packing", "truncation", "truncation_side", "stride", "padding", "padding_side", "attention"] },
  { title: "How much, and which splits", fields: ["splits", "resplit", "max_rows", "max_tokens", "seed"], closed: true },
  { title: "Chats", fields: ["chat", "chat_date"], closed: true },
  { title: "Mixtures", fields: ["other_datasets", "weights"], closed: true },
  { title: "Name", fields: ["name", "tags", "notes"], closed: true },
];
const LABELS = { add_special_tokens: "Add special tokens", return_attention_mask: "Return attention mask" };
// Options that a preview of one text has too.
const SHARED = ["add_special_tokens", "return_attention_mask", "bos", "separator", "special_strings", "context_length", "truncation", "truncation_side", "stride", "padding", "padding_side"];
const SAMPLE = "RayLens turns a language model and a text into features that a person can read.";

export default function NewTokens() {
  const search = new URLSearchParams(useSearch());
  const create = $api.useMutation("post", "/v1/tokens");
  const toast = useToast();
  const [, go] = useLocation();
  const [body, setBody] = useState<Record<string, unknown>>({});
  const initial = useMemo(() => {
    const given = ["dataset", "model"].map((name) => [name, search.get(name)]).filter(([, value]) => value);
    return Object.fromEntries(given) as Record<string, unknown>;
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, []);
  const custom = useMemo(() => ({
    dataset: (field: Parameters<typeof ArtifactField>[0]) => <ArtifactField {...field} kind="datasets" />,
    model: (field: Parameters<typeof ArtifactField>[0]) => <ArtifactField {...field} kind="models" />,
  }), []);
  return (
    <Page title="Tokenize a dataset" lead="The same options on the same text give the same rows; if they exist already, no work is done again.">
      <div className="form-and-preview">
        <SchemaForm
          schema="TokenizeRequest" submit="Tokenize" draft={`tokens-${search.get("dataset") ?? ""}`} groups={GROUPS} labels={LABELS}
          custom={custom as never} hide={["stage"]} initial={initial} onChange={setBody}
          onSubmit={async (sent) => {
            const accepted = await create.mutateAsync({ body: sent as never });
            toast(accepted.created ? "It is being tokenized." : "An equal tokenization is there already, or is being made.");
            const [made] = accepted.artifacts;
            go(accepted.job.state === "SUCCEEDED" && made ? `/${made}` : jobPath(accepted.job.id));
          }}
        />
        <div className="beside-form">
          <TokenPreview body={body} />
          <JobCheck stage="tokenize" body={body} ready={Boolean(body["dataset"] && body["model"])} />
        </div>
      </div>
    </Page>
  );
}

/** What the chosen tokenizer makes of a text with the options of the form. */
function TokenPreview({ body }: { body: Record<string, unknown> }) {
  const [text, setText] = useState(SAMPLE);
  const [preview, setPreview] = useState<Preview | null>(null);
  const [problem, setProblem] = useState<unknown>(null);
  const [answered, setAnswered] = useState(""); // the request that is answered now
  const request = JSON.stringify({ model: body["model"], text, ...Object.fromEntries(SHARED.filter((name) => name in body).map((name) => [name, body[name]])) });
  const model = body["model"];
  useEffect(() => {
    setPreview((old) => (typeof model === "string" && text !== "" ? old : null)); // of another model or text: none
    if (typeof model !== "string" || text === "") return;
    const stop = new AbortController();
    const timer = setTimeout(() => {
      void client.POST("/v1/text/tokens", { body: JSON.parse(request) as never, signal: stop.signal }).then(
        ({ data, error }) => {
          setAnswered(request);
          setPreview(data ?? null);
          setProblem(data === undefined ? toProblem(error) : null);
        },
        (error: unknown) => { if (!stop.signal.aborted) setProblem(error); },
      );
    }, 100);
    return () => { clearTimeout(timer); stop.abort(); };
  }, [request, model, text]);
  return (
    <aside className="preview card" aria-label="Preview">
      <Section title="Preview">
        <label htmlFor="preview-text">A text, up to 1,000 characters</label>
        <textarea id="preview-text" rows={4} maxLength={1000} value={text} onChange={(event) => setText(event.target.value)} />
        {typeof model !== "string" ? <p className="quiet">Choose a model: its tokenizer is used.</p> : problem !== null ? <ProblemNotice error={problem} what="There is no preview" /> : preview === null && answered !== request ? <p className="quiet" role="status">Tokenizing … The first text waits for the tokenizer.</p> : preview && text !== "" && <Shown preview={preview} />}
      </Section>
    </aside>
  );
}

function Shown({ preview }: { preview: Preview }) {
  const rows = new Map<number, Preview["tokens"]>();
  for (const token of preview.tokens) rows.set(token.row, [...(rows.get(token.row) ?? []), token]);
  return (
    <div>
      {[...rows].map(([row, tokens]) => (
        <div key={row}>
          {rows.size > 1 && <p className="quiet">Row {row}</p>}
          <TokenText tokens={tokens.map((token) => ({ id: token.id, text: token.text, role: token.role }))} />
        </div>
      ))}
      <p className="hidden" role="status">{whole(preview.counts["tokens"] ?? 0)} tokens, {whole(preview.counts["special"] ?? 0)} of them special.</p>
      <Facts facts={Object.entries(preview.counts).map(([name, count]) => [name.replace("_", " "), whole(count)])} />
      <details>
        <summary>Ids{preview.attention_mask && " and attention mask"}</summary>
        <pre className="json-text" tabIndex={0}>{JSON.stringify(preview.tokens.map((token) => token.id))}{preview.attention_mask && `\n${JSON.stringify(preview.attention_mask)}`}</pre>
      </details>
      {preview.attention_mask === null && <p className="quiet">No attention mask is written.</p>}
    </div>
  );
}
