import type { ExecutionState } from "../client/rest";

export function StateChip({ state }: { readonly state: ExecutionState | string }) {
  return <span className={`chip chip-${state}`}>{state}</span>;
}
