// The pages: one line each. A page is a file in src/pages with a default export; its code is loaded when it is opened.
import { type ComponentType, lazy, type LazyExoticComponent } from "react";

export interface PageRoute {
  /** Pattern of wouter; the first part must be in pages.json, which the server reads. */
  path: string;
  component: LazyExoticComponent<ComponentType>;
  /** Its name in the navigation; pages without one are reached from others. */
  nav?: string;
}

export const ROUTES: PageRoute[] = [
  { path: "/", nav: "Overview", component: lazy(() => import("../pages/Overview")) },
  { path: "/jobs", nav: "Jobs", component: lazy(() => import("../pages/Jobs")) },
  { path: "/jobs/:id", component: lazy(() => import("../pages/JobPage")) },
  { path: "/cluster", nav: "Cluster", component: lazy(() => import("../pages/ClusterPage")) },
  { path: "/settings", nav: "Settings", component: lazy(() => import("../pages/Settings")) },
];
