// A link to an artifact: its page, or the API's answer for a kind that has no page.
import { Link } from "wouter";

import { artifactPath, hasPage, isRef } from "../app/paths";

export function ArtifactLink({ reference, label }: { reference: string; label?: string }) {
  const path = artifactPath(reference);
  const text = label ?? reference;
  if (!isRef(reference)) return <>{text}</>;
  return hasPage(reference) ? <Link href={path}>{text}</Link> : <a href={path}>{text}</a>;
}
