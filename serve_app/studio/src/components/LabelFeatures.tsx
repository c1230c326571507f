// The way from features to their labels: a link if there are some, a button that has them made.
import { useState } from "react";
import { Link, useLocation } from "wouter";

import { $api } from "../api/client";
import { useMayWrite } from "../api/session";
import { jobPath } from "../app/paths";
import { useLabelsOf } from "./FeatureLabels";
import { ProblemNotice } from "./Problem";
import { useToast } from "./Toasts";

export function LabelFeatures({ features }: { features: string }) {
  const { id } = useLabelsOf(features);
  const label = $api.useMutation("post", "/v1/labels");
  const [error, setError] = useState<unknown>(null);
  const toast = useToast();
  const [, go] = useLocation();
  const mayWrite = useMayWrite();
  if (id === undefined) return null;
  if (id !== null) return <Link href={`/labels/${id}`} className="button">Labels</Link>;
  if (!mayWrite) return null;
  const run = async () => {
    setError(null);
    try {
      const accepted = await label.mutateAsync({ body: { features } as never });
      toast("The features are being labelled.");
      go(jobPath(accepted.job.id));
    } catch (problem) {
      setError(problem);
    }
  };
  return (
    <>
      <button type="button" className="primary" disabled={label.isPending} onClick={() => void run()}>Label features</button>
      {error !== null && <ProblemNotice error={error} what="It was not started" />}
    </>
  );
}
