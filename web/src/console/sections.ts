import type { ComponentType } from "react";
import { Runs } from "./Runs";

/** What a section is given of the address. */
export interface PanelProps {
  readonly id: string | null;
  readonly query: URLSearchParams;
}

/** A part of the console: where it is, what it is called, and who may see it. */
export interface Section {
  readonly name: string;
  readonly way: string;
  readonly title: string;
  readonly note: string;
  readonly permission: string;
  readonly Panel: ComponentType<PanelProps>;
}

/** All sections in their order. */
export const SECTIONS: readonly Section[] = [
  {
    name: "runs",
    way: "Runs",
    title: "Runs",
    note: "Everybody's runs: how each stands, and nothing of what was said.",
    permission: "admin:runs",
    Panel: Runs,
  },
];
