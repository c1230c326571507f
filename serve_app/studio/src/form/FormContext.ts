// What the fields of one form share.
import { createContext, type ReactNode } from "react";

import type { FieldProps } from "./Field";
import type { Schemas } from "./schema";
import type { Faults } from "./validate";

export interface Form {
  schemas: Schemas;
  faults: Faults;
  /** Labels of fields, by path, where the name of the property does not do. */
  labels: Record<string, string>;
  /** Fields of another form, by path: for example a list of artifacts to choose from. */
  custom: Record<string, (props: FieldProps) => ReactNode>;
  hide: string[];
}

export const FormContext = createContext<Form>({ schemas: {}, faults: new Map(), labels: {}, custom: {}, hide: [] });
