// The application: queries, messages, who is signed in, and the page of the current path.
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { type ReactNode, Suspense, useRef } from "react";
import { Route, Switch, useLocation } from "wouter";

import { useSession } from "../api/session";
import { ErrorBoundary } from "../components/ErrorBoundary";
import { ProblemNotice } from "../components/Problem";
import { Loading, retryPassing } from "../components/States";
import { ToastProvider } from "../components/Toasts";
import { LiveProvider } from "../live/LiveProvider";
import { NotFound } from "../pages/NotFound";
import { SignIn } from "../pages/SignIn";
import { Frame } from "./Frame";
import { ROUTES } from "./routes";
import { SignInAgain } from "./SignInAgain";

export function makeQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        retry: retryPassing,
        retryDelay: (failures) => Math.min(500 * 2 ** failures, 4_000),
        staleTime: 5_000,
        refetchOnWindowFocus: false, // the feed reads again what has changed
        networkMode: "always", // the server may be on this machine
      },
      mutations: { networkMode: "always" },
    },
  });
}

const queries = makeQueryClient();

export function App() {
  return (
    <QueryClientProvider client={queries}>
      <ToastProvider>
        <Gate>
          <LiveProvider>
            <Frame>
              <Pages />
            </Frame>
          </LiveProvider>
        </Gate>
      </ToastProvider>
    </QueryClientProvider>
  );
}

/** Shows the sign-in page to those who are not signed in. A session that ends later leaves the page, and all typed in it. */
function Gate({ children }: { children: ReactNode }) {
  const session = useSession();
  const [path] = useLocation();
  const wasSignedIn = useRef(false);
  if (session.data) wasSignedIn.current = true;
  if (path === "/sign-in") {
    wasSignedIn.current = false;
    return <SignIn />;
  }
  if (session.data === undefined) {
    if (session.isError) {
      return (
        <main className="alone">
          <ProblemNotice error={session.error} what="Cannot reach RayLens" onRetry={() => void session.refetch()} />
        </main>
      );
    }
    return <main className="alone"><Loading what="RayLens" /></main>;
  }
  if (session.data === null && !wasSignedIn.current) return <SignIn />;
  return (
    <>
      {children}
      {session.data === null && <SignInAgain />}
    </>
  );
}

function Pages() {
  const [path] = useLocation();
  return (
    <ErrorBoundary place={path}>
      <Suspense fallback={<Loading what="the page" />}>
        <Switch>
          {ROUTES.map(({ path: pattern, component: PageComponent }) => (
            <Route key={pattern} path={pattern}>
              <PageComponent key={path} />
            </Route>
          ))}
          <Route>
            <NotFound />
          </Route>
        </Switch>
      </Suspense>
    </ErrorBoundary>
  );
}
