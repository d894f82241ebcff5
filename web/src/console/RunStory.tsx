import { useMemo, useState } from "react";
import { useParts } from "../app/parts";
import { paths } from "../app/routes";
import { Trouble } from "../ui/Trouble";
import { usePolled } from "../ui/usePolled";
import { useNow } from "../ui/useStore";
import { EventTable } from "./EventTable";
import { GanttChart } from "./GanttChart";
import { ganttOf } from "./gantt";
import { Replay } from "./Replay";
import { RunFacts } from "./RunFacts";
import { RunApprovals, RunEffects, RunSteps } from "./RunJournal";
import { RunLog } from "./RunLog";
import { playedAt } from "./replay";
import { isLiveState } from "./runFilters";
import { skewOf } from "./stillness";
import { type StoryOfRun, StoryReader } from "./storyOfRun";
import { WatchState } from "./WatchState";
import { pauseOf, useWatching } from "./watching";

const EVERY_MS = 2_000;

/** One run of anybody: its facts, its time, its events, and what an operator may do. */
export function RunStory({ runId }: { readonly runId: string }) {
  const { api } = useParts();
  const watching = useWatching();
  const reader = useMemo(() => new StoryReader(api, runId), [api, runId]);
  const [isOver, setOver] = useState(false);
  const { value, error, readAt, again } = usePolled(reader.read, isOver ? null : pauseOf(watching, EVERY_MS));
  const isLive = value !== null && isLiveState(value.story.state);
  if (value !== null && isOver === isLive) setOver(!isLive);
  return (
    <>
      <div className="filters">
        <a href={paths.console("runs")}>All runs</a>
        <span className="head-space" />
        {isLive && <WatchState watching={watching} readAt={readAt} />}
      </div>
      <Trouble error={error} onAgain={again} />
      {value === null && error === null && <p className="page-note">Looking…</p>}
      {value !== null && <Shown found={value} readAt={readAt} onChange={again} />}
    </>
  );
}

function Shown(props: { readonly found: StoryOfRun; readonly readAt: number; readonly onChange: () => void }) {
  const { found, readAt, onChange } = props;
  const { story, events } = found;
  const isLive = isLiveState(story.state);
  const now = useNow(500, isLive) + skewOf(story, readAt);
  const gantt = useMemo(() => ganttOf(story, now), [story, now]);
  const times = useMemo(() => events.map((event) => Date.parse(event.at)), [events]);
  const [cursor, setCursor] = useState<number | null>(null);
  return (
    <div className="story">
      <RunFacts story={story} now={now} onChange={onChange} />
      <section className="card" aria-labelledby="story-time">
        <h2 id="story-time">Timeline</h2>
        <GanttChart gantt={gantt} cursor={cursor} />
        <Replay times={times} at={cursor} onMove={setCursor} />
      </section>
      <EventTable
        runId={story.id}
        events={events}
        played={cursor === null ? null : playedAt(times, cursor)}
        isTrimmed={found.isTrimmed}
        isCut={found.isCut}
      />
      <RunSteps story={story} />
      <RunEffects story={story} events={events} />
      <RunApprovals story={story} />
      <RunLog runId={story.id} />
    </div>
  );
}
