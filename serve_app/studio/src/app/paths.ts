// Paths of pages. Kinds of artifacts without a page of their own lead to the API's answer.
const KINDS_WITH_PAGES: ReadonlySet<string> = new Set(["datasets", "models", "tokens", "saes", "probes", "features", "labels"]);

export const jobPath = (id: string): string => `/jobs/${encodeURIComponent(id)}`;

/** The page of what a reference names: a job (`train-0f3c9a7b21`) or an artifact (`saes/67d5273bd9611bd1`). */
export function refPath(ref: string): string {
  ref = ref.split(" ").at(-1)!; // "train job train-0f3c9a7b21"
  return ref.includes("/") ? artifactPath(ref) : jobPath(ref);
}

/** Whether a text is a reference of an artifact. */
export const isRef = (text: string): boolean => /^[a-z]+\/[0-9a-f]{16}$/.test(text);

/** The page of an artifact: `datasets/67d5273bd9611bd1`. */
export function artifactPath(ref: string): string {
  return hasPage(ref) ? `/${ref}` : `/v1/${ref}`;
}

export function hasPage(ref: string): boolean {
  return KINDS_WITH_PAGES.has(ref.split("/")[0]!);
}

/** The page of one feature. `features/67d5273bd9611bd1`, 1207. */
export const featurePath = (features: string, latent: number): string => `/${features}/${latent}`;

/** The page of a list of features. */
export const listPath = (id: string): string => `/lists/${id}`;
