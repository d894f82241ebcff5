import { Component, type ReactNode } from "react";

interface Props {
  readonly fallback: (thrown: unknown) => ReactNode;
  readonly children: ReactNode;
}

interface State {
  readonly thrown: unknown;
  readonly hasThrown: boolean;
}

/** What stands in place of its children when one of them fails; everything around it goes on. */
export class Boundary extends Component<Props, State> {
  override state: State = { thrown: null, hasThrown: false };

  static getDerivedStateFromError(thrown: unknown): State {
    return { thrown, hasThrown: true };
  }

  override render(): ReactNode {
    return this.state.hasThrown ? this.props.fallback(this.state.thrown) : this.props.children;
  }
}
