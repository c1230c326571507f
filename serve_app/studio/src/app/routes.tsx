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
  { path: "/datasets", nav: "Datasets", component: lazy(() => import("../pages/Datasets")) },
  { path: "/datasets/new", component: lazy(() => import("../pages/NewDataset")) },
  { path: "/datasets/:id", component: lazy(() => import("../pages/DatasetPage")) },
  { path: "/models", nav: "Models", component: lazy(() => import("../pages/Models")) },
  { path: "/models/new", component: lazy(() => import("../pages/NewModel")) },
  { path: "/models/:id", component: lazy(() => import("../pages/ModelPage")) },
  { path: "/tokens", nav: "Tokens", component: lazy(() => import("../pages/TokensList")) },
  { path: "/tokens/new", component: lazy(() => import("../pages/NewTokens")) },
  { path: "/tokens/:id", component: lazy(() => import("../pages/TokensPage")) },
  { path: "/saes", nav: "SAEs", component: lazy(() => import("../pages/Saes")) },
  { path: "/saes/new", component: lazy(() => import("../pages/NewSaes")) },
  { path: "/saes/:id", component: lazy(() => import("../pages/SaePage")) },
  { path: "/features", nav: "Features", component: lazy(() => import("../pages/FeaturesList")) },
  { path: "/features/:id", component: lazy(() => import("../pages/FeaturesPage")) },
  { path: "/features/:id/:latent", component: lazy(() => import("../pages/FeaturePage")) },
  { path: "/features/:id/:latent/steer", component: lazy(() => import("../pages/SteeringPage")) },
  { path: "/labels/:id", component: lazy(() => import("../pages/LabelsPage")) },
  { path: "/labels/:id/queue", component: lazy(() => import("../pages/LabelQueue")) },
  { path: "/jobs", nav: "Jobs", component: lazy(() => import("../pages/Jobs")) },
  { path: "/jobs/:id", component: lazy(() => import("../pages/JobPage")) },
  { path: "/cluster", nav: "Cluster", component: lazy(() => import("../pages/ClusterPage")) },
  { path: "/settings", nav: "Settings", component: lazy(() => import("../pages/Settings")) },
];
