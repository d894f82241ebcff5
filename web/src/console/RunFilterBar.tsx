import { type FormEvent, type ReactNode, useId, useState } from "react";
import { useParts } from "../app/parts";
import { go, paths } from "../app/routes";
import { textOf } from "../app/SignIn";
import type { ExecutionState, MemberRunAnswer } from "../client/rest";
import { Icon } from "../ui/Icon";
import { count } from "../ui/time";
import { useStore } from "../ui/useStore";
import { END_STATES, LIVE_STATES, mayOrder, type RunFilters, runIdIn, toggled, withLive } from "./runFilters";

/** The choice of runs: states with how many are in each, agent, person, order; and the way to a run by its id. */
export function RunFilterBar(props: {
  readonly filters: RunFilters;
  readonly live: Readonly<Record<string, number>>;
  readonly runs: readonly MemberRunAnswer[];
  readonly onChange: (filters: RunFilters) => void;
  readonly children: ReactNode;
}) {
  const { filters, live, runs, onChange } = props;
  const { agents } = useParts();
  const known = useStore(agents).map((agent) => agent.name);
  const names = filters.agent === "" || known.includes(filters.agent) ? known : [...known, filters.agent];
  const id = useId();
  const all = LIVE_STATES.reduce((sum, state) => sum + (live[state] ?? 0), 0);
  const chip = (state: ExecutionState, number?: number): ReactNode => (
    <Chip
      key={state}
      name={state}
      number={number}
      isOn={filters.states.includes(state)}
      act={() => onChange(toggled(filters, state))}
    />
  );
  const whole = (name: string, wanted: boolean | null, number?: number): ReactNode => (
    <Chip
      name={name}
      number={number}
      isOn={filters.states.length === 0 && filters.live === wanted}
      act={() => onChange(withLive(filters, wanted))}
    />
  );
  return (
    <>
      <div className="filters">
        <fieldset className="chips">
          <legend className="visually-hidden">Live runs</legend>
          {whole("live", true, all)}
          {LIVE_STATES.map((state) => chip(state, live[state] ?? 0))}
        </fieldset>
        <fieldset className="chips">
          <legend className="visually-hidden">Runs that are over</legend>
          {whole("over", false)}
          {END_STATES.map((state) => chip(state))}
        </fieldset>
        <fieldset className="chips">
          <legend className="visually-hidden">Every run</legend>
          {whole("all", null)}
        </fieldset>
      </div>
      <div className="filters">
        <label htmlFor={`${id}-agent`} className="visually-hidden">
          Agent
        </label>
        <select
          id={`${id}-agent`}
          value={filters.agent}
          onChange={(event) => onChange({ ...filters, agent: event.target.value })}
        >
          <option value="">every agent</option>
          {names.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
        {mayOrder(filters) && (
          <>
            <label htmlFor={`${id}-order`} className="visually-hidden">
              Order
            </label>
            <select
              id={`${id}-order`}
              value={filters.order}
              onChange={(event) =>
                onChange({ ...filters, order: event.target.value === "newest" ? "newest" : "stuck" })
              }
            >
              <option value="stuck">stuck first</option>
              <option value="newest">newest first</option>
            </select>
          </>
        )}
        {filters.userId !== "" && (
          <button type="button" className="chip chip-button" onClick={() => onChange({ ...filters, userId: "" })}>
            of {nameOf(runs, filters.userId)} <Icon name="close" size={13} />
            <span className="visually-hidden">, show everybody's</span>
          </button>
        )}
        <RunById />
        <span className="head-space" />
        {props.children}
      </div>
    </>
  );
}

function Chip(props: {
  readonly name: string;
  readonly number: number | undefined;
  readonly isOn: boolean;
  readonly act: () => void;
}) {
  const { name, number, isOn, act } = props;
  return (
    <button
      type="button"
      className={number === 0 && !isOn ? "chip chip-button chip-none" : "chip chip-button"}
      aria-pressed={isOn}
      onClick={act}
    >
      {name}
      {number !== undefined && <strong>{count(number)}</strong>}
    </button>
  );
}

function RunById() {
  const [isWrong, setWrong] = useState(false);
  const id = useId();
  const open = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const found = runIdIn(textOf(new FormData(event.currentTarget), "run"));
    setWrong(found === null);
    if (found !== null) go(paths.console("runs", found));
  };
  return (
    <form className="by-id" onSubmit={open} role="search">
      <label htmlFor={id} className="visually-hidden">
        Open a run by its id
      </label>
      <input
        id={id}
        name="run"
        type="search"
        placeholder="run_… opens it"
        autoComplete="off"
        aria-invalid={isWrong}
        aria-describedby={isWrong ? `${id}-wrong` : undefined}
        onPaste={(event) => {
          const found = runIdIn(event.clipboardData.getData("text"));
          if (found === null) return;
          event.preventDefault();
          go(paths.console("runs", found));
        }}
      />
      {isWrong && (
        <span className="hint hint-error" id={`${id}-wrong`} role="alert">
          That holds no id of a run.
        </span>
      )}
    </form>
  );
}

function nameOf(runs: readonly MemberRunAnswer[], userId: string): string {
  const user = runs.find((run) => run.user_id === userId)?.user;
  return user === undefined ? userId : user.name || user.email;
}
