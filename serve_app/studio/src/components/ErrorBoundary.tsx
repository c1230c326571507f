// A fault of a page: it says so, and the rest of the application stays.
import { Component, type ReactNode } from "react";

import { ProblemNotice } from "./Problem";

interface Props {
  /** Another page, another chance: the boundary forgets its error when this changes. */
  place: string;
  children: ReactNode;
}
interface State {
  error: unknown;
  place: string;
}

export class ErrorBoundary extends Component<Props, State> {
  override state: State = { error: null, place: this.props.place };

  static getDerivedStateFromError(error: unknown): Partial<State> {
    return { error };
  }

  static getDerivedStateFromProps(props: Props, state: State): Partial<State> | null {
    return props.place === state.place ? null : { error: null, place: props.place };
  }

  override render(): ReactNode {
    if (this.state.error === null) return this.props.children;
    return (
      <ProblemNotice error={this.state.error} what="This page has a fault" onRetry={() => this.setState({ error: null })} />
    );
  }
}
