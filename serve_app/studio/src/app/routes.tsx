// The routes: each page of pageFiles.ts as a component that is loaded when it is shown.
import { type ComponentType, lazy, type LazyExoticComponent } from "react";

import { PAGE_FILES, type PageFile } from "./pageFiles";

export interface PageRoute extends PageFile {
  component: LazyExoticComponent<ComponentType>;
}

export const ROUTES: PageRoute[] = PAGE_FILES.map((file) => ({ ...file, component: lazy(file.load) }));
