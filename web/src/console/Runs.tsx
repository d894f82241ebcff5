import { RunList } from "./RunList";
import { RunStory } from "./RunStory";
import type { PanelProps } from "./sections";

/** The runs of everybody; or one of them. */
export function Runs({ id, query }: PanelProps) {
  return id === null ? <RunList query={query} /> : <RunStory key={id} runId={id} />;
}
