// A form that is made from the JSON schema of a request: labels, descriptions, choices and validation are the API's own.
//
//   <SchemaForm schema="TokenizeRequest" draft="tokenize" submit="Tokenize" onSubmit={(body) => create.mutateAsync({ body })}
//     groups={[{ title: "Text", fields: ["dataset", "model"] }]} custom={{ dataset: (field) => <ArtifactChoice {...field} /> }} />
//
// What is not filled in is not sent, so that the API's defaults hold. Input stays after every error, and over a reload.
import { type FocusEvent, type FormEvent, type ReactNode, useEffect, useId, useMemo, useRef, useState } from "react";

import { faultsOf, toProblem } from "../api/problem";
import { ProblemNotice } from "../components/Problem";
import { Loaded } from "../components/States";
import { Properties } from "./Field";
import { type Form, FormContext } from "./FormContext";
import { given, resolve, type Schemas, useSchemas } from "./schema";
import { type Faults, validate } from "./validate";

export interface Group {
  title: string;
  fields: string[];
  /** Closed until it is opened. */
  closed?: boolean;
}
export interface SchemaFormProps {
  /** Name of the request's schema in the OpenAPI document. */
  schema: string;
  submit: string;
  /** Sends the request. A problem that it throws is shown at its fields. */
  onSubmit: (body: Record<string, unknown>) => Promise<unknown>;
  /** Told of every change, for example to show a preview. */
  onChange?: (body: Record<string, unknown>) => void;
  initial?: Record<string, unknown>;
  /** Keeps the input in this tab under this name until it was sent. */
  draft?: string;
  /** Fields in this order under these titles; those that are in none follow under "More options". */
  groups?: Group[];
  labels?: Form["labels"];
  custom?: Form["custom"];
  hide?: string[];
  /** Beside the button, for example what the request would need. */
  children?: ReactNode;
}

export function SchemaForm(props: SchemaFormProps) {
  const schemas = useSchemas();
  return <Loaded query={schemas} what="the form">{(all) => <Filled {...props} schemas={all} />}</Loaded>;
}

type Value = Record<string, unknown>;

function Filled({ schema: name, submit, onSubmit, onChange, initial = {}, draft, groups, labels = {}, custom = {}, hide = [], children, schemas }: SchemaFormProps & { schemas: Schemas }) {
  const { schema } = useMemo(() => resolve(schemas[name] ?? {}, schemas), [schemas, name]);
  const [value, setValue] = useState<Value>(() => stored(draft) ?? initial);
  const [faults, setFaults] = useState<Faults>(new Map());
  const [problem, setProblem] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const [sent, setSent] = useState(false); // once: from then on all faults are listed above the fields
  const form = useRef<HTMLFormElement>(null);
  const titleId = useId();
  const tell = useRef(onChange);
  tell.current = onChange;
  useEffect(() => {
    store(draft, value);
    tell.current?.(given(value) as Value);
  }, [draft, value]);

  const change = (next: unknown) => {
    setValue(next as Value);
    // A fault that was mended goes away at once; new ones are shown when the form is sent, or a field is left.
    if (faults.size > 0) {
      const now = validate(schema, given(next), schemas);
      setFaults((old) => new Map([...old].filter(([path, words]) => now.get(path) === words || !isLocal(words))));
    }
  };
  const leave = ({ relatedTarget }: FocusEvent) => {
    // Words that appear would move the button away from under the pointer; sending shows them all anyway.
    if (relatedTarget instanceof HTMLButtonElement) return;
    const now = validate(schema, given(value), schemas);
    setFaults((old) => new Map([...now].filter(([path, words]) => words !== "Field required" || old.has(path))));
  };
  const send = async (event: FormEvent) => {
    event.preventDefault();
    const body = given(value) as Value;
    const found = validate(schema, body, schemas);
    setFaults(found);
    setProblem(null);
    setSent(true);
    if (found.size > 0) return focusFirst(form.current, found);
    setBusy(true);
    try {
      await onSubmit(body);
      store(draft, null);
      setSent(false);
    } catch (error) {
      const known = toProblem(error);
      const atFields = faultsOf(known);
      setFaults(atFields);
      setProblem(known);
      focusFirst(form.current, atFields);
    } finally {
      setBusy(false);
    }
  };

  const context = useMemo<Form>(() => ({ schemas, faults, labels, custom, hide }), [schemas, faults, labels, custom, hide]);
  const named = groups?.flatMap((group) => group.fields) ?? [];
  const rest = Object.keys(schema.properties ?? {}).filter((field) => !named.includes(field) && !hide.includes(field));
  const shared = { path: "", schema, value, onChange: change };
  return (
    <FormContext.Provider value={context}>
      <form ref={form} noValidate className="schema-form" onSubmit={(event) => void send(event)} onBlur={leave}>
        {sent && faults.size > 0 && problem === null && (
          <div className="notice problem" role="alert">
            <strong>{faults.size === 1 ? "One field is not right" : `${faults.size} fields are not right`}</strong>
            <ul>{[...faults].map(([path, words]) => <li key={path}><code>{path}</code> {words}</li>)}</ul>
          </div>
        )}
        {problem !== null && <ProblemNotice error={problem} what="It was not submitted; all that you typed is still here" />}
        {!groups && <Properties {...shared} names={rest} />}
        {groups?.map((group, i) =>
          group.closed ? (
            <details key={group.title} className="group">
              <summary>{group.title}</summary>
              <Properties {...shared} names={group.fields} />
            </details>
          ) : (
            <section key={group.title} className="group" aria-labelledby={`${titleId}-${i}`}>
              <h2 id={`${titleId}-${i}`}>{group.title}</h2>
              <Properties {...shared} names={group.fields} />
            </section>
          ),
        )}
        {groups && rest.length > 0 && (
          <details className="group">
            <summary>More options</summary>
            <Properties {...shared} names={rest} />
          </details>
        )}
        {children}
        <div className="buttons">
          <button type="submit" className="primary" disabled={busy}>{busy ? "Sending …" : submit}</button>
        </div>
      </form>
    </FormContext.Provider>
  );
}

const isLocal = (words: string) => /^(Input|String|List|Field)\b/.test(words);

/** Opens what hides the first wrong field, and puts the focus there. */
function focusFirst(form: HTMLFormElement | null, faults: Faults): void {
  const path = faults.keys().next().value;
  if (form === null || path === undefined) return;
  requestAnimationFrame(() => {
    for (let at = path; at !== ""; at = at.slice(0, Math.max(0, at.lastIndexOf(".")))) {
      const field = form.querySelector(`[data-path="${CSS.escape(at)}"]`);
      if (field === null) continue;
      for (let node = field.closest("details"); node; node = node.parentElement?.closest("details") ?? null) node.open = true;
      field.querySelector<HTMLElement>("input, select, textarea, button")?.focus();
      return;
    }
  });
}

function stored(draft: string | undefined): Value | null {
  if (draft === undefined) return null;
  try {
    return JSON.parse(sessionStorage.getItem(`raylens-draft-${draft}`) ?? "null") as Value | null;
  } catch {
    return null;
  }
}

function store(draft: string | undefined, value: Value | null): void {
  if (draft === undefined) return;
  try {
    if (value === null || Object.keys(value).length === 0) sessionStorage.removeItem(`raylens-draft-${draft}`);
    else sessionStorage.setItem(`raylens-draft-${draft}`, JSON.stringify(value));
  } catch {
    // storage is full or blocked: the form itself keeps its input
  }
}
