// The frame around all pages: skip link, navigation, state of the feed, theme, who is signed in.
import { type ReactNode, useEffect, useState } from "react";
import { Link, useLocation } from "wouter";

import { useSession, useSignOut } from "../api/session";
import { ProblemNotice } from "../components/Problem";
import { useFeedState } from "../live/LiveProvider";
import { ROUTES } from "./routes";

export function Frame({ children }: { children: ReactNode }) {
  const [path] = useLocation();
  const [open, setOpen] = useState(false);
  useEffect(() => {
    setOpen(false);
    window.scrollTo(0, 0);
  }, [path]);
  return (
    <div className="frame">
      <a className="skip" href="#content">
        Skip to the content
      </a>
      <header className="top">
        <Link className="home" href="/">
          RayLens
        </Link>
        <button type="button" className="menu" aria-expanded={open} aria-controls="navigation" onClick={() => setOpen(!open)}>
          Menu
        </button>
        <nav id="navigation" className={open ? "open" : ""} aria-label="Pages">
          <ul>
            {ROUTES.filter((route) => route.nav).map((route) => (
              <li key={route.path}>
                <Link href={route.path} aria-current={isAt(path, route.path) ? "page" : undefined}>
                  {route.nav}
                </Link>
              </li>
            ))}
            <li>
              <a href="/docs">API</a>
            </li>
          </ul>
        </nav>
        <FeedBadge />
        <Person />
      </header>
      <main id="content" tabIndex={-1}>
        {children}
      </main>
    </div>
  );
}

function isAt(path: string, page: string): boolean {
  return page === "/" ? path === "/" : path === page || path.startsWith(`${page}/`);
}

const FEED = {
  connecting: ["connecting", "Waiting for the server's events."],
  live: ["live", "Pages change as jobs do."],
  reconnecting: ["reconnecting", "The connection to the server broke. What you see may be old; it is being renewed."],
  polling: ["every 2 s", "Events do not get through, so pages are read again every two seconds."],
  paused: ["paused", "Nothing is read while this page is hidden."],
} as const;

/** Whether what is shown is up to date. */
export function FeedBadge() {
  const state = useFeedState();
  const [word, title] = FEED[state];
  return (
    <span className={`feed ${state}`} role="status" title={title}>
      <span aria-hidden="true">{state === "live" ? "●" : state === "reconnecting" ? "◌" : "○"}</span> {word}
    </span>
  );
}

function Person() {
  const session = useSession().data;
  const signOut = useSignOut();
  const [, go] = useLocation();
  const [error, setError] = useState<unknown>(null);
  if (!session) return null;
  const leave = async () => {
    try {
      await signOut();
      go("/sign-in");
    } catch (problem) {
      setError(problem);
    }
  };
  return (
    <div className="person">
      <span className="quiet">
        {session.name}
        {!session.scopes.includes("write") && " (read only)"}
      </span>
      <button type="button" onClick={() => void leave()}>
        Sign out
      </button>
      {error !== null && <ProblemNotice error={error} what="You are still signed in" />}
    </div>
  );
}
