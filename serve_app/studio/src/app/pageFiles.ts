// The pages: one line each. A page is a file in src/pages with a default export; its code is loaded when it is opened.
import type { ComponentType } from "react";

export interface PageFile {
  /** Pattern of wouter; the first part must be in pages.json, which the server reads. */
  path: string;
  /** Its name in the navigation; pages without one are reached from others. */
  nav?: string;
  load: () => Promise<{ default: ComponentType }>;
}

export const PAGE_FILES: PageFile[] = [
  { path: "/", nav: "Overview", load: () => import("../pages/Overview") },
  { path: "/datasets", nav: "Datasets", load: () => import("../pages/Datasets") },
  { path: "/datasets/new", load: () => import("../pages/NewDataset") },
  { path: "/datasets/:id", load: () => import("../pages/DatasetPage") },
  { path: "/models", nav: "Models", load: () => import("../pages/Models") },
  { path: "/models/new", load: () => import("../pages/NewModel") },
  { path: "/models/:id", load: () => import("../pages/ModelPage") },
  { path: "/tokens", nav: "Tokens", load: () => import("../pages/TokensList") },
  { path: "/tokens/new", load: () => import("../pages/NewTokens") },
  { path: "/tokens/:id", load: () => import("../pages/TokensPage") },
  { path: "/saes", nav: "SAEs", load: () => import("../pages/Saes") },
  { path: "/saes/new", load: () => import("../pages/NewSaes") },
  { path: "/saes/:id", load: () => import("../pages/SaePage") },
  { path: "/features", nav: "Features", load: () => import("../pages/FeaturesList") },
  { path: "/features/:id", load: () => import("../pages/FeaturesPage") },
  { path: "/features/:id/:latent", load: () => import("../pages/FeaturePage") },
  { path: "/features/:id/:latent/steer", load: () => import("../pages/SteeringPage") },
  { path: "/probes", nav: "Probes", load: () => import("../pages/Probes") },
  { path: "/probes/new", load: () => import("../pages/NewProbes") },
  { path: "/probes/:id", load: () => import("../pages/ProbesPage") },
  { path: "/lists", nav: "Lists", load: () => import("../pages/Lists") },
  { path: "/lists/:id", load: () => import("../pages/ListPage") },
  { path: "/labels/:id", load: () => import("../pages/LabelsPage") },
  { path: "/labels/:id/map", load: () => import("../pages/MapPage") },
  { path: "/labels/:id/queue", load: () => import("../pages/LabelQueue") },
  { path: "/jobs", nav: "Jobs", load: () => import("../pages/Jobs") },
  { path: "/jobs/:id", load: () => import("../pages/JobPage") },
  { path: "/cluster", nav: "Cluster", load: () => import("../pages/ClusterPage") },
  { path: "/settings", nav: "Settings", load: () => import("../pages/Settings") },
];

/** Starts loading the code of the page at a path, before anything asks for it. */
export function loadEarly(path: string): void {
  const file = PAGE_FILES.find(({ path: pattern }) => new RegExp(`^${pattern.replace(/:\w+/g, "[^/]+")}/?$`).test(path));
  void file?.load().catch(() => undefined); // opening the page says what went wrong
}
