import { type ReactNode, useCallback } from "react";
import { useParts } from "../app/parts";
import { paths } from "../app/routes";
import type { CheckAnswer, ModelStateAnswer, NodeAnswer, OperationsAnswer } from "../client/rest";
import { Table } from "../ui/Table";
import { Trouble } from "../ui/Trouble";
import { count, duration, moment } from "../ui/time";
import { usePolled } from "../ui/usePolled";
import { LIVE_STATES } from "./runFilters";
import { WatchState } from "./WatchState";
import { pauseOf, useWatching } from "./watching";

const EVERY_MS = 2_000;
const LATE_S = 0.1;
const MIB = 2 ** 20;

/** What the installation is doing now: its processes, its queue, its checks and its models. */
export function Operations() {
  const { api } = useParts();
  const watching = useWatching();
  const read = useCallback(
    (signal: AbortSignal) => api.get<OperationsAnswer>("/v1/admin/operations", {}, signal),
    [api],
  );
  const { value, error, readAt, again } = usePolled(read, pauseOf(watching, EVERY_MS));
  return (
    <>
      <div className="filters">
        {value !== null && (
          <span className={value.status === "ready" ? "chip chip-done" : "chip chip-failed"}>{value.status}</span>
        )}
        <span className="head-space" />
        <WatchState watching={watching} readAt={readAt} />
      </div>
      <Trouble error={error} onAgain={again} />
      {value === null && error === null && <p className="page-note">Looking…</p>}
      {value !== null && (
        <div className="story">
          <Queue found={value} />
          <section aria-label="Nodes">
            <h2>
              {count(value.nodes.length)} {value.nodes.length === 1 ? "node" : "nodes"}
            </h2>
            <div className="cards">
              {value.nodes.map((node) => (
                <NodeCard key={node.name} node={node} />
              ))}
            </div>
          </section>
          <Checks checks={value.checks} />
          <Models models={value.models} />
        </div>
      )}
    </>
  );
}

function Queue({ found }: { readonly found: OperationsAnswer }) {
  const { live, nodes, oldest_pending_s: oldest } = found;
  const working = nodes.reduce((sum, node) => sum + node.runs_working, 0);
  const places = nodes.reduce((sum, node) => sum + node.runs_concurrency, 0);
  const queued = nodes.reduce((sum, node) => sum + node.queue_depth, 0);
  return (
    <>
      <section className="card" aria-labelledby="queue-all">
        <div className="card-head">
          <h2 id="queue-all">Load</h2>
          <span className="hint">of all organisations on this server together</span>
        </div>
        <div className="tiles">
          <Tile name="Queued">{count(queued)}</Tile>
          <Tile name={`At work, of ${count(places)} places`}>{count(working)}</Tile>
        </div>
      </section>
      <section className="card" aria-labelledby="queue-own">
        <div className="card-head">
          <h2 id="queue-own">Live runs</h2>
          <span className="hint">of your organisation</span>
        </div>
        <div className="tiles">
          {LIVE_STATES.map((state) => (
            <Tile key={state} name={state}>
              <a href={paths.console("runs", null, { state })}>{count(live[state] ?? 0)}</a>
            </Tile>
          ))}
          <Tile name="longest wait for a worker">{oldest === null ? "–" : duration(oldest * 1000)}</Tile>
        </div>
      </section>
    </>
  );
}

/** A number, and what it counts. */
function Tile({ name, children }: { readonly name: string; readonly children: ReactNode }) {
  return (
    <div className="tile">
      <span className="tile-name">{name}</span>
      <strong>{children}</strong>
    </div>
  );
}

function NodeCard({ node }: { readonly node: NodeAnswer }) {
  const isLate = node.loop_lag_s > LATE_S;
  const rows: readonly (readonly [string, ReactNode])[] = [
    ["Queue", count(node.queue_depth)],
    ["Waiting for storage", count(node.storage_waiting)],
    ["Connections", count(node.connections_open)],
    [
      "Loop lag",
      <span key="lag" className={isLate ? "failed" : undefined}>
        {Math.round(node.loop_lag_s * 1000)} ms{" "}
        <span className="hint">most {Math.round(node.loop_lag_max_s * 1000)} ms</span>
      </span>,
    ],
    ["Memory", node.memory_bytes === null ? "not known" : `${count(Math.round(node.memory_bytes / MIB))} MiB`],
    ["Up for", duration(node.uptime_s * 1000)],
    ["Version", node.version],
  ];
  return (
    <article className="card" aria-label={`Node ${node.name}`}>
      <div className="card-head">
        <h3>{node.name}</h3>
        {node.is_draining && <span className="chip chip-warn">draining</span>}
      </div>
      <p className="meter-line">
        <meter
          min={0}
          max={Math.max(1, node.runs_concurrency)}
          value={node.runs_working}
          aria-label={`Runs at work on ${node.name}`}
        />
        <span className="hint">
          {count(node.runs_working)} of {count(node.runs_concurrency)} at work
        </span>
      </p>
      <dl className="facts facts-narrow">
        {rows.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </article>
  );
}

/** The checks of `/readyz`; those that fail come first. */
export function Checks({ checks }: { readonly checks: Readonly<Record<string, CheckAnswer>> }) {
  const rows = Object.entries(checks).sort(([, one], [, other]) => Number(one.ok) - Number(other.ok));
  return (
    <section className="card" aria-label="Checks of the server">
      <div className="card-head">
        <h2>Checks</h2>
        <span className="hint">What the server needs to be ready.</span>
      </div>
      <Table
        label="Checks by name"
        rows={rows}
        keyOf={([name]) => name}
        columns={[
          { title: "Check", cell: ([name]) => name },
          { title: "State", cell: ([, check]) => <Verdict isOk={check.ok} /> },
          { title: "Detail", cell: ([, check]) => check.detail },
          { title: "Took", isNumber: true, cell: ([, check]) => milliseconds(check.latency_ms) },
        ]}
      />
    </section>
  );
}

function Models({ models }: { readonly models: readonly ModelStateAnswer[] }) {
  return (
    <section className="card" aria-label="Models">
      <div className="card-head">
        <h2>Models</h2>
        <span className="hint">What is known of each model in use.</span>
      </div>
      {models.length === 0 ? (
        <p className="empty">No agent uses a model.</p>
      ) : (
        <Table
          label="Models in use"
          rows={models}
          keyOf={(model) => model.name}
          columns={[
            { title: "Model", cell: (model) => <code>{model.name}</code> },
            { title: "State", cell: (model) => <Verdict isOk={model.ok} /> },
            { title: "Detail", cell: (model) => model.detail },
            { title: "Took", isNumber: true, cell: (model) => milliseconds(model.latency_ms) },
            { title: "Asked", cell: (model) => (model.checked_at === null ? "never" : moment(model.checked_at)) },
          ]}
        />
      )}
    </section>
  );
}

/** Whether something works; null while that is not known. */
export function Verdict({ isOk }: { readonly isOk: boolean | null }) {
  if (isOk === null) return <span className="chip">not known</span>;
  return isOk ? <span className="chip chip-done">works</span> : <span className="chip chip-failed">fails</span>;
}

export function milliseconds(value: number | null): string {
  return value === null ? "–" : `${Math.round(value)} ms`;
}
