// The SAEs of a run as a grid: every combination of hooks, architectures, widths, k and seeds. New architectures come from the schema.
import { useContext, useId, useState } from "react";

import { counted } from "../format";
import { Described, type FieldProps, Properties } from "./Field";
import { FormContext } from "./FormContext";
import { HookChoice } from "./HookChoice";
import { resolve, type Schema, variantsOf } from "./schema";

export interface Grid {
  hooks: string;
  architectures: string[];
  widths: string;
  ks: string;
  seeds: string;
  /** Further settings, by architecture: for all SAEs of that architecture. */
  settings: Record<string, Sae>;
}
type Sae = Record<string, unknown>;

const listed = (text: string): string[] => [...new Set(text.split(/[\s,]+/).filter(Boolean))];
const number = (text: string): number | string => (Number.isNaN(Number(text)) ? text : Number(text)); // the API says what is wrong with a word

// What the grid itself says of an SAE.
const OF_GRID = ["architecture", "hook", "d_sae", "k", "seed"];

/** All SAEs of a grid. `k` is given to those architectures whose schema has it. */
export function expand(grid: Grid, schemas: Map<string, Schema>): Sae[] {
  const found: Sae[] = [];
  for (const architecture of grid.architectures) {
    const ks = schemas.get(architecture)?.properties?.["k"] ? listed(grid.ks).map(number) : [undefined];
    for (const hook of listed(grid.hooks))
      for (const d_sae of listed(grid.widths).map(number))
        for (const k of ks.length > 0 ? ks : [undefined])
          for (const seed of listed(grid.seeds).map(number)) found.push({ ...grid.settings[architecture], architecture, hook, d_sae, ...(k !== undefined && { k }), seed });
  }
  return found;
}

const unique = (saes: Sae[], name: string) => [...new Set(saes.map((one) => one[name]).filter((one) => one !== undefined))].join(", ");

/** `model`: whose hook points can be chosen. */
export function SaeGrid({ path, schema, value, onChange, model }: FieldProps & { model?: string | undefined }) {
  const { schemas, faults } = useContext(FormContext);
  const union = variantsOf(resolve(resolve(schema, schemas).schema.items ?? {}, schemas).schema, schemas);
  const kinds = new Map((union?.variants ?? []).map((one) => [one.name, one.schema]));
  const saes = Array.isArray(value) ? (value as Sae[]) : [];
  const [grid, setGrid] = useState<Grid>(() => ({
    hooks: unique(saes, "hook"), architectures: [...new Set(saes.map((one) => String(one["architecture"])))], widths: unique(saes, "d_sae"), ks: unique(saes, "k"), seeds: unique(saes, "seed") || "0",
    settings: Object.fromEntries([...saes].reverse().map((one) => [String(one["architecture"]), Object.fromEntries(Object.entries(one).filter(([name]) => !OF_GRID.includes(name)))])),
  }));
  const id = useId();
  const set = (change: Partial<Grid>) => {
    const next = { ...grid, ...change };
    setGrid(next);
    const all = expand(next, kinds);
    onChange(all.length > 0 ? all : undefined);
  };
  // Settings stand at the first SAE of their architecture, so that its faults are shown at their fields.
  const firstOf = (architecture: string) => Math.max(0, saes.findIndex((one) => one["architecture"] === architecture));
  const atField = (at: string) => !OF_GRID.includes(at.split(".")[2] ?? "architecture");
  const own = [...faults].filter(([at]) => !atField(at)).filter(([at]) => at === path || at.startsWith(`${path}.`));
  const text = (name: Exclude<keyof Grid, "architectures" | "settings">, label: string, about: string) => (
    <div className="field">
      <label htmlFor={`${id}-${name}`}>{label}</label>
      <input id={`${id}-${name}`} value={grid[name]} autoComplete="off" aria-describedby={`${id}-${name}-about`} onChange={(event) => set({ [name]: event.target.value })} />
      <p className="about quiet" id={`${id}-${name}-about`}>{about}</p>
    </div>
  );
  return (
    <div className="field group" data-path={path}>
      {text("hooks", "Hooks", "Separated by commas: hook points of the model, as its page names them.")}
      {model && <HookChoice model={model} hooks={listed(grid.hooks)} onAdd={(hook) => set({ hooks: [...listed(grid.hooks), hook].join(", ") })} />}
      <fieldset className="choices">
        <legend>Architectures</legend>
        {[...kinds.keys()].map((name) => (
          <label key={name} className="check">
            <input type="checkbox" checked={grid.architectures.includes(name)}
              onChange={(event) => set({ architectures: event.target.checked ? [...grid.architectures, name] : grid.architectures.filter((one) => one !== name) })} /> {name}
          </label>
        ))}
      </fieldset>
      {text("widths", "Latents", "Separated by commas, such as 4096, 16384.")}
      {text("ks", "k", "Separated by commas, for the architectures that have it.")}
      {text("seeds", "Seeds", "Separated by commas.")}
      {grid.architectures.map((name) => {
        const schema = kinds.get(name);
        const names = Object.keys(schema?.properties ?? {}).filter((one) => !OF_GRID.includes(one));
        if (!schema || names.length === 0) return null;
        return (
          <details key={name} className="group">
            <summary>Settings of {name}</summary>
            <p className="about quiet"><Described text={schema.description} /> For all SAEs of this architecture.</p>
            <Properties path={`${path}.${firstOf(name)}`} schema={schema} value={grid.settings[name] ?? {}} names={names}
              onChange={(value) => set({ settings: { ...grid.settings, [name]: value as Sae } })} />
          </details>
        );
      })}
      <p role="status"><strong>{counted(saes.length, "SAE")}</strong>{saes.length === 0 && <span className="quiet">: give a hook, an architecture and a number of latents.</span>}</p>
      {own.map(([at, words]) => <p key={at} className="fault"><span aria-hidden="true">✕ </span>{at === path ? words : `${at}: ${words}`}</p>)}
    </div>
  );
}
