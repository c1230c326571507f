// One field of a form, by the schema of its value: switch, choice, number, text, list, object, or a choice of objects.
import { Switch } from "radix-ui";
import { type ReactNode, useContext, useId, useState } from "react";

import { FormContext } from "./FormContext";
import { labelOf, resolve, type Schema, variantsOf } from "./schema";

export interface FieldProps {
  /** Path in the request: `saes.0.k`. */
  path: string;
  schema: Schema;
  value: unknown;
  onChange: (value: unknown) => void;
  required?: boolean;
}

export function Field(props: FieldProps) {
  const form = useContext(FormContext);
  const custom = form.custom[props.path];
  if (custom) return <>{custom(props)}</>;
  const { schema, nullable } = resolve(props.schema, form.schemas);
  const union = variantsOf(schema, form.schemas);
  if (union) return <UnionField {...props} schema={schema} nullable={nullable} property={union.property} variants={union.variants} />;
  if (schema.const !== undefined) return null;
  const own = { ...props, schema, nullable };
  if (schema.enum) return <ChoiceField {...own} />;
  switch (schema.type) {
    case "boolean":
      return nullable ? <ChoiceField {...own} schema={{ ...schema, enum: [true, false] }} /> : <SwitchField {...own} />;
    case "integer":
    case "number":
      return <NumberField {...own} />;
    case "string":
      return <TextField {...own} />;
    case "array":
      return <ListField {...own} />;
    case "object":
      return schema.properties ? <ObjectField {...own} /> : <JsonField {...own} />;
    default:
      return <JsonField {...own} />;
  }
}

interface OwnProps extends FieldProps {
  nullable: boolean;
}

/** Label, description and fault around a control. `control` gets the attributes that tie them together. */
export function Labelled({ path, schema, required, label, control }: {
  path: string; schema: Schema; required?: boolean; label?: string;
  control: (attributes: { id: string; "aria-describedby": string; "aria-invalid": boolean; "aria-required"?: boolean }) => ReactNode;
}) {
  const { faults, labels } = useContext(FormContext);
  const id = useId();
  const fault = faults.get(path);
  return (
    <div className={fault === undefined ? "field" : "field wrong"} data-path={path}>
      <label htmlFor={id}>
        {label ?? labels[path] ?? labelOf(path.split(".").at(-1)!)}
        {required && <span className="quiet"> (required)</span>}
      </label>
      {control({ id, "aria-describedby": fault === undefined ? `${id}-about` : `${id}-fault ${id}-about`, "aria-invalid": fault !== undefined, ...(required && { "aria-required": true }) })}
      <p className="fault" id={`${id}-fault`}>{fault !== undefined && <><span aria-hidden="true">✕ </span>{fault}</>}</p>
      <p className="about quiet" id={`${id}-about`}><Described text={schema.description} /></p>
    </div>
  );
}

/** A description, whose `names` are code. */
export function Described({ text }: { text: string | undefined }) {
  return <>{text?.split("`").map((part, i) => (i % 2 ? <code key={i}>{part}</code> : part))}</>;
}

function SwitchField({ path, schema, value, onChange }: OwnProps) {
  const on = (value ?? schema.default ?? false) === true;
  return (
    <Labelled path={path} schema={schema} control={(attributes) => (
      <span className="switch-line">
        <Switch.Root {...attributes} className="switch" checked={on} onCheckedChange={(next) => onChange(next)}>
          <Switch.Thumb className="thumb" />
        </Switch.Root>
        <span aria-hidden="true">{on ? "on" : "off"}</span>
      </span>
    )} />
  );
}

function ChoiceField({ path, schema, nullable, value, onChange, required }: OwnProps) {
  const values = schema.enum!;
  const shown = value ?? schema.default ?? null;
  return (
    <Labelled path={path} schema={schema} {...(required && { required })} control={(attributes) => (
      <select {...attributes} value={shown === null ? "" : String(shown)} onChange={(event) => onChange(values.find((one) => String(one) === event.target.value) ?? (nullable ? null : undefined))}>
        {(nullable || schema.default === undefined) && <option value="">{nullable ? "not given" : "choose …"}</option>}
        {values.map((one) => <option key={String(one)} value={String(one)}>{String(one)}</option>)}
      </select>
    )} />
  );
}

function NumberField({ path, schema, value, onChange, required }: OwnProps) {
  const shown = value === undefined || value === null ? "" : String(value);
  // Text that is no number stays as it is, for the person to mend.
  const read = (text: string) => (text.trim() === "" ? undefined : Number.isNaN(Number(text)) ? text : Number(text));
  const [typed, setTyped] = useState(shown);
  const text = read(typed) === value || (typed.trim() === "" && value == null) ? typed : shown;
  return (
    <Labelled path={path} schema={schema} {...(required && { required })} control={(attributes) => (
      <input {...attributes} inputMode={schema.type === "integer" ? "numeric" : "decimal"} autoComplete="off" value={text}
        placeholder={schema.default == null ? "" : String(schema.default)}
        onChange={(event) => { setTyped(event.target.value); onChange(read(event.target.value)); }} />
    )} />
  );
}

function TextField({ path, schema, value, onChange, required }: OwnProps) {
  const long = (schema.maxLength ?? 0) > 1000;
  const example = schema.examples?.[0];
  return (
    <Labelled path={path} schema={schema} {...(required && { required })} control={(attributes) => {
      const own = {
        ...attributes, autoComplete: "off", spellCheck: false, value: typeof value === "string" ? value : "",
        placeholder: schema.default ? String(schema.default) : typeof example === "string" ? `for example ${example}` : "",
        onChange: (event: { target: { value: string } }) => onChange(event.target.value === "" ? undefined : event.target.value),
      };
      if (long) return <textarea {...own} rows={3} />;
      return <input {...own} type={schema.format === "date" ? "date" : "text"} />;
    }} />
  );
}

function ListField(props: OwnProps) {
  const { schemas } = useContext(FormContext);
  const items = props.schema.items ?? props.schema.prefixItems?.[0] ?? {};
  const { schema: item } = resolve(items, schemas);
  if (item.enum) return <ManyField {...props} choices={item.enum} />;
  if (item.type === "string" || item.type === "number" || item.type === "integer") return <LinesField {...props} item={item} />;
  return <ObjectsField {...props} items={items} />;
}

/** Some of a few values. */
function ManyField({ path, schema, value, onChange, choices }: OwnProps & { choices: unknown[] }) {
  const { faults, labels } = useContext(FormContext);
  const chosen = (value ?? schema.default ?? []) as unknown[];
  const id = useId();
  return (
    <fieldset className={faults.has(path) ? "field wrong" : "field"} data-path={path} aria-describedby={`${id}-fault`}>
      <legend>{labels[path] ?? labelOf(path.split(".").at(-1)!)}</legend>
      <div className="choices">
        {choices.map((one) => (
          <label key={String(one)}>
            <input type="checkbox" checked={chosen.includes(one)} onChange={(event) => onChange(choices.filter((other) => (other === one ? event.target.checked : chosen.includes(other))))} />{" "}
            {String(one)}
          </label>
        ))}
      </div>
      <p className="fault" id={`${id}-fault`}>{faults.get(path)}</p>
      <p className="about quiet"><Described text={schema.description} /></p>
    </fieldset>
  );
}

/** A list of texts or numbers, one a line. */
function LinesField({ path, schema, value, onChange, item, required }: OwnProps & { item: Schema }) {
  const { faults } = useContext(FormContext);
  const shown = Array.isArray(value) ? value.join("\n") : "";
  const read = (text: string) => {
    const lines = text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
    const values = item.type === "string" ? lines : lines.map((line) => (Number.isNaN(Number(line)) ? line : Number(line)));
    return values.length === 0 ? undefined : values;
  };
  const [typed, setTyped] = useState(shown);
  const text = JSON.stringify(read(typed)) === JSON.stringify(value) ? typed : shown;
  const inner = [...faults].filter(([where]) => where.startsWith(`${path}.`)).map(([where, fault]) => `line ${Number(where.slice(path.length + 1)) + 1}: ${fault}`);
  const usual = Array.isArray(schema.default) && schema.default.length > 0 ? ` By default: ${schema.default.join(", ")}.` : "";
  return (
    <>
      <Labelled path={path} schema={{ ...schema, description: `${schema.description ?? ""} One a line.${usual}` }} {...(required && { required })} control={(attributes) => (
        <textarea {...attributes} aria-invalid={attributes["aria-invalid"] || inner.length > 0} rows={2} spellCheck={false} value={text}
          onChange={(event) => { setTyped(event.target.value); onChange(read(event.target.value)); }} />
      )} />
      {inner.map((fault) => <p className="fault" key={fault}>✕ {fault}</p>)}
    </>
  );
}

/** A list of objects, to which one can be added. */
function ObjectsField({ path, schema, value, onChange, items }: OwnProps & { items: Schema }) {
  const { faults, labels } = useContext(FormContext);
  const list = Array.isArray(value) ? value : [];
  const name = labels[path] ?? labelOf(path.split(".").at(-1)!);
  return (
    <fieldset className="field group" data-path={path}>
      <legend>{name}</legend>
      <p className="about quiet"><Described text={schema.description} /></p>
      {list.map((one, i) => (
        <div className="item" key={i}>
          <Field path={`${path}.${i}`} schema={items} value={one} onChange={(next) => onChange(list.map((old, at) => (at === i ? next : old)))} />
          <button type="button" onClick={() => onChange(list.filter((_, at) => at !== i))}>Remove {name} {i + 1}</button>
        </div>
      ))}
      <button type="button" onClick={() => onChange([...list, {}])}>Add one</button>
      <p className="fault">{faults.get(path)}</p>
    </fieldset>
  );
}

export function ObjectField({ path, schema, value, onChange }: OwnProps) {
  const { labels } = useContext(FormContext);
  return (
    <details className="field group" data-path={path}>
      <summary>{labels[path] ?? labelOf(path.split(".").at(-1)!)}</summary>
      <p className="about quiet"><Described text={schema.description} /></p>
      <Properties path={path} schema={schema} value={value} onChange={(next) => onChange(isGiven(next) ? next : undefined)} />
    </details>
  );
}

/** Whether anything is left of an object: one whose fields were all cleared is not sent. */
const isGiven = (value: unknown) => Object.values(value as object).some((one) => one !== undefined);

/** The fields of an object's properties. */
export function Properties({ path, schema, value, onChange, names }: FieldProps & { names?: string[] }) {
  const { hide } = useContext(FormContext);
  const object = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  return (
    <>
      {Object.entries(schema.properties ?? {})
        .filter(([name]) => (names?.includes(name) ?? true) && !hide.includes(path === "" ? name : `${path}.${name}`))
        .sort(([a], [b]) => (names ? names.indexOf(a) - names.indexOf(b) : 0))
        .map(([name, property]) => (
          <Field
            key={name}
            path={path === "" ? name : `${path}.${name}`}
            schema={property}
            value={object[name]}
            required={schema.required?.includes(name) ?? false}
            onChange={(next) => onChange({ ...object, [name]: next })}
          />
        ))}
    </>
  );
}

function UnionField({ path, schema, nullable, property, variants, value, onChange, required }: OwnProps & { property: string; variants: { name: string; schema: Schema }[] }) {
  const object = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  const chosen = variants.find((one) => one.name === object[property]);
  return (
    <div className="field group" data-path={path}>
      <Labelled path={path} schema={schema} {...(required && { required })} control={(attributes) => (
        <select {...attributes} value={chosen?.name ?? ""} onChange={(event) => onChange(event.target.value === "" ? (nullable ? null : undefined) : { ...object, [property]: event.target.value })}>
          <option value="">{nullable ? "not given" : "choose …"}</option>
          {variants.map((one) => <option key={one.name} value={one.name}>{one.name}</option>)}
        </select>
      )} />
      {chosen && (
        <>
          <p className="about quiet"><Described text={chosen.schema.description} /></p>
          <Properties path={path} schema={chosen.schema} value={object} onChange={onChange} />
        </>
      )}
    </div>
  );
}

/** Anything else, as JSON. */
function JsonField({ path, schema, value, onChange }: OwnProps) {
  const [text, setText] = useState(value === undefined ? "" : JSON.stringify(value, null, 2));
  return (
    <Labelled path={path} schema={{ ...schema, description: `${schema.description ?? ""} As JSON.` }} control={(attributes) => (
      <textarea {...attributes} rows={3} spellCheck={false} value={text} onChange={(event) => {
        setText(event.target.value);
        if (event.target.value.trim() === "") return onChange(undefined);
        try {
          onChange(JSON.parse(event.target.value));
        } catch {
          onChange(event.target.value); // the API says what is wrong with it
        }
      }} />
    )} />
  );
}
