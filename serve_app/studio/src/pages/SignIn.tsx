// Signing in: by the code in a link (#CODE, which is never sent in an address), or by an API token.
import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useEffect, useId, useState } from "react";
import { useLocation } from "wouter";

import { useSignIn } from "../api/session";
import { Page } from "../components/Page";
import { ProblemNotice } from "../components/Problem";
import { Loading } from "../components/States";

let used: Promise<unknown> | null = null; // a code works once, and an effect may run twice

export function SignIn() {
  const signIn = useSignIn();
  const [path, go] = useLocation();
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(path === "/sign-in" && location.hash.length > 1);
  useEffect(() => {
    if (!busy) return;
    const code = decodeURIComponent(location.hash.slice(1));
    used ??= signIn({ code });
    history.replaceState(null, "", "/sign-in"); // no longer in the address, nor in the history
    used.then(() => go("/", { replace: true }), (problem: unknown) => {
      setError(problem);
      setBusy(false);
    }).finally(() => (used = null));
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, []);
  return (
    <main className="alone">
      <Page title="Sign in">
        {busy ? (
          <Loading what="your session" />
        ) : (
          <>
            {error !== null && <ProblemNotice error={error} what="This link does not sign you in" />}
            <p>
              Open the link that <code>python -m cluster up</code> printed, or a new one from{" "}
              <code>python -m serve_app sign-in</code>. Or sign in with an API token.
            </p>
            <TokenForm onDone={() => path === "/sign-in" && go("/", { replace: true })} />
          </>
        )}
      </Page>
    </main>
  );
}

export function TokenForm({ onDone }: { onDone?: () => void }) {
  const signIn = useSignIn();
  const queries = useQueryClient();
  const [token, setToken] = useState("");
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const id = useId();
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await signIn({ token: token.trim() });
      await queries.invalidateQueries();
      onDone?.();
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  return (
    <form className="token-form" onSubmit={(event) => void submit(event)}>
      <label htmlFor={id}>API token</label>
      <input
        id={id}
        type="password"
        autoComplete="off"
        spellCheck={false}
        required
        value={token}
        aria-describedby={`${id}-hint`}
        onChange={(event) => setToken(event.target.value)}
      />
      <p id={`${id}-hint`} className="quiet">
        <code>python -m serve_app token create NAME --scope write</code> makes one. It is not kept in this browser.
      </p>
      {error !== null && <ProblemNotice error={error} what="You are not signed in" />}
      <div className="buttons">
        <button type="submit" className="primary" disabled={busy}>
          {busy ? "Signing in …" : "Sign in"}
        </button>
        <button type="button" onClick={() => void queries.invalidateQueries()}>
          I have signed in
        </button>
      </div>
    </form>
  );
}
