import type { ComponentType } from "react";
import { Audit } from "./Audit";
import { Doctor } from "./Doctor";
import { Errors } from "./Errors";
import { Operations } from "./Operations";
import { Runs } from "./Runs";
import { TenantUsage } from "./TenantUsage";
import { Throughput } from "./Throughput";
import { Users } from "./Users";
import { WaitingRuns } from "./WaitingRuns";

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
  {
    name: "operations",
    way: "Queue and nodes",
    title: "Queue and nodes",
    note: "What the installation is doing now.",
    permission: "admin:runs",
    Panel: Operations,
  },
  {
    name: "throughput",
    way: "Throughput",
    title: "Latency and throughput",
    note: "How many runs there were, and how long they waited and took.",
    permission: "admin:runs",
    Panel: Throughput,
  },
  {
    name: "errors",
    way: "Errors",
    title: "Errors",
    note: "Runs that did not end well, rows that disagree, checks that fail.",
    permission: "admin:runs",
    Panel: Errors,
  },
  {
    name: "approvals",
    way: "Approvals",
    title: "Runs that wait for a person",
    note: "Which runs wait, for whom and until when; not what they ask.",
    permission: "admin:runs",
    Panel: WaitingRuns,
  },
  {
    name: "users",
    way: "Users",
    title: "Users",
    note: "Who can sign in, as what, and from where.",
    permission: "admin:users",
    Panel: Users,
  },
  {
    name: "usage",
    way: "Usage",
    title: "Usage",
    note: "Tokens and model calls by UTC day.",
    permission: "admin:tenant",
    Panel: TenantUsage,
  },
  {
    name: "doctor",
    way: "Doctor",
    title: "Doctor",
    note: "What the last checks from outside found.",
    permission: "admin:runs",
    Panel: Doctor,
  },
  {
    name: "audit",
    way: "Audit",
    title: "Audit trail",
    note: "Who did what, the newest first.",
    permission: "admin:audit",
    Panel: Audit,
  },
];
