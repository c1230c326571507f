// Validates a value by a JSON schema, in the API's own words (those of pydantic). What only the server can know, for example
// rules between two fields, it says itself: its answer has the same form.
import { resolve, type Schema, type Schemas, variantsOf } from "./schema";

export type Faults = Map<string, string>;

/** The faults of a value, by path: `saes.0.k`. */
export function validate(schema: Schema, value: unknown, all: Schemas, path = ""): Faults {
  const faults: Faults = new Map();
  check(schema, value, all, path, faults);
  return faults;
}

function check(given: Schema, value: unknown, all: Schemas, path: string, faults: Faults): void {
  const { schema, nullable } = resolve(given, all);
  if (value === null && nullable) return;
  const union = variantsOf(schema, all);
  if (union) {
    const tag = isObject(value) ? value[union.property] : undefined;
    const variant = union.variants.find((one) => one.name === tag);
    if (variant) check(variant.schema, value, all, path, faults);
    else faults.set(path, `Input tag is not one of ${union.variants.map((one) => `'${one.name}'`).join(", ")}`);
    return;
  }
  if (schema.anyOf || schema.oneOf) return; // the server decides
  const fault = faultOf(schema, value);
  if (fault !== null) faults.set(path, fault);
  else if (schema.type === "object" && isObject(value)) checkObject(schema, value, all, path, faults);
  else if (schema.type === "array" && Array.isArray(value)) {
    value.forEach((item, i) => {
      const one = schema.prefixItems?.[i] ?? schema.items;
      if (one) check(one, item, all, join(path, i), faults);
    });
  }
}

function checkObject(schema: Schema, value: Record<string, unknown>, all: Schemas, path: string, faults: Faults): void {
  for (const name of schema.required ?? []) if (value[name] === undefined) faults.set(join(path, name), "Field required");
  for (const [name, inner] of Object.entries(value)) {
    const property = schema.properties?.[name];
    if (inner !== undefined && property) check(property, inner, all, join(path, name), faults);
  }
}

function faultOf(schema: Schema, value: unknown): string | null {
  if (schema.const !== undefined) return value === schema.const ? null : `Input should be '${String(schema.const)}'`;
  if (schema.enum) return schema.enum.includes(value) ? null : `Input should be ${oneOf(schema.enum)}`;
  switch (schema.type) {
    case "integer":
      if (typeof value !== "number" || !Number.isInteger(value)) {
        return typeof value === "number" ? "Input should be a valid integer, got a number with a fractional part" : "Input should be a valid integer";
      }
      return faultOfNumber(schema, value);
    case "number":
      return typeof value === "number" && Number.isFinite(value) ? faultOfNumber(schema, value) : "Input should be a valid number";
    case "boolean":
      return typeof value === "boolean" ? null : "Input should be a valid boolean";
    case "string":
      return typeof value === "string" ? faultOfText(schema, value) : "Input should be a valid string";
    case "array":
      return Array.isArray(value) ? faultOfList(schema, value) : "Input should be a valid list";
    case "object":
      return isObject(value) ? null : "Input should be an object";
    default:
      return null;
  }
}

function faultOfNumber(schema: Schema, value: number): string | null {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
  if (minimum !== undefined && value < minimum) return `Input should be greater than or equal to ${minimum}`;
  if (exclusiveMinimum !== undefined && value <= exclusiveMinimum) return `Input should be greater than ${exclusiveMinimum}`;
  if (maximum !== undefined && value > maximum) return `Input should be less than or equal to ${maximum}`;
  if (exclusiveMaximum !== undefined && value >= exclusiveMaximum) return `Input should be less than ${exclusiveMaximum}`;
  return null;
}

function faultOfText(schema: Schema, value: string): string | null {
  const length = [...value].length;
  if (schema.minLength !== undefined && length < schema.minLength) return `String should have at least ${counted(schema.minLength, "character")}`;
  if (schema.maxLength !== undefined && length > schema.maxLength) return `String should have at most ${counted(schema.maxLength, "character")}`;
  if (schema.pattern !== undefined && matches(schema.pattern, value) === false) return `String should match pattern '${schema.pattern}'`;
  return null;
}

function faultOfList(schema: Schema, value: unknown[]): string | null {
  if (schema.minItems !== undefined && value.length < schema.minItems) {
    return `List should have at least ${counted(schema.minItems, "item")} after validation, not ${value.length}`;
  }
  if (schema.maxItems !== undefined && value.length > schema.maxItems) {
    return `List should have at most ${counted(schema.maxItems, "item")} after validation, not ${value.length}`;
  }
  return null;
}

/** null for a pattern that this browser does not know: the server decides. */
function matches(pattern: string, value: string): boolean | null {
  try {
    return new RegExp(pattern, "u").test(value);
  } catch {
    return null;
  }
}

const counted = (n: number, noun: string) => `${n} ${noun}${n === 1 ? "" : "s"}`;
const join = (path: string, name: string | number) => (path === "" ? String(name) : `${path}.${name}`);
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

function oneOf(values: unknown[]): string {
  const names = values.map((one) => (typeof one === "string" ? `'${one}'` : String(one)));
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;
}
