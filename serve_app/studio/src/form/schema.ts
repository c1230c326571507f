// JSON schemas of the API's requests, as the OpenAPI document has them.
import { useQuery } from "@tanstack/react-query";

import { PAGE_HEADERS } from "../api/early";
import { toProblem } from "../api/problem";

export interface Schema {
  $ref?: string;
  type?: string;
  title?: string;
  description?: string;
  default?: unknown;
  const?: unknown;
  enum?: unknown[];
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  items?: Schema;
  /** Of a list with a fixed number of items: one schema each. */
  prefixItems?: Schema[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  discriminator?: { propertyName: string; mapping?: Record<string, string> };
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  pattern?: string;
  format?: string;
  examples?: unknown[];
}
export type Schemas = Record<string, Schema>;

/** All schemas of the API's requests and answers, by name. Read once. */
export function useSchemas() {
  return useQuery({
    queryKey: ["openapi"],
    staleTime: Infinity,
    queryFn: async (): Promise<Schemas> => {
      const answer = await fetch("/openapi.json", { headers: PAGE_HEADERS });
      if (!answer.ok) throw toProblem(await answer.text());
      return ((await answer.json()) as { components: { schemas: Schemas } }).components.schemas;
    },
  });
}

export interface Resolved {
  schema: Schema;
  /** Whether null, that is "not given", is a value too. */
  nullable: boolean;
}

/** A schema without its reference, and without the `null` of a value that need not be given. Own descriptions win. */
export function resolve(given: Schema, all: Schemas): Resolved {
  let schema = given, nullable = false;
  for (;;) {
    const { $ref, anyOf, ...own } = schema;
    if ($ref !== undefined) {
      const { description, ...target } = all[$ref.split("/").at(-1)!] ?? {};
      schema = { ...target, ...(description !== undefined && { description }), ...own };
      continue;
    }
    const kinds = anyOf?.filter((one) => one.type !== "null");
    if (anyOf && kinds?.length === 1) {
      nullable ||= kinds.length < anyOf.length;
      schema = { ...kinds[0], ...own };
      continue;
    }
    nullable ||= (anyOf?.length ?? 0) > (kinds?.length ?? 0);
    return { schema: anyOf ? { ...own, anyOf: kinds! } : own, nullable };
  }
}

export interface Variant {
  name: string;
  schema: Schema;
}
/** The kinds of object that a value can be, by the value of their discriminator; null if the schema is no such union. */
export function variantsOf(schema: Schema, all: Schemas): { property: string; variants: Variant[] } | null {
  const union = schema.oneOf ?? schema.anyOf;
  if (!union || union.length < 2) return null;
  const objects = union.map((one) => resolve(one, all).schema);
  const property = schema.discriminator?.propertyName ?? Object.keys(objects[0]?.properties ?? {}).find((name) => objects.every((one) => constant(one, name) !== undefined));
  if (property === undefined || !objects.every((one) => constant(one, property) !== undefined)) return null;
  return { property, variants: objects.map((one) => ({ name: String(constant(one, property)), schema: one })) };
}

function constant(schema: Schema, name: string): unknown {
  const property = schema.properties?.[name];
  return property?.const ?? (property?.enum?.length === 1 ? property.enum[0] : undefined);
}

/** The label of a property: `context_length` is "Context length". */
export function labelOf(name: string): string {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** A value without what was not given: undefined, and objects and lists that became empty. */
export function given(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(given);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, given(inner)] as const).filter(([, inner]) => inner !== undefined));
}
