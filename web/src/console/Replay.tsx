import { useEffect, useRef, useState } from "react";
import { Icon } from "../ui/Icon";
import { duration } from "../ui/time";
import { advanced, playedAt, SPEEDS, type Speed, sought } from "./replay";

const TICK_MS = 80;

/** Plays a run's events again in time. `at` is the moment that is shown; null while nothing is played. */
export function Replay(props: {
  readonly times: readonly number[];
  readonly at: number | null;
  readonly onMove: (at: number | null) => void;
}) {
  const { times, at, onMove } = props;
  const [speed, setSpeed] = useState<Speed>(1);
  const [isPlaying, setPlaying] = useState(false);
  const first = times[0] ?? 0;
  const last = times[times.length - 1] ?? 0;
  const shown = useRef(at);
  shown.current = at;
  useEffect(() => {
    if (!isPlaying) return;
    let before = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      const next = advanced(times, shown.current ?? first, speed, now - before);
      before = now;
      onMove(next);
      if (next >= last) setPlaying(false);
    }, TICK_MS);
    return () => clearInterval(timer);
  }, [isPlaying, speed, times, first, last, onMove]);
  if (times.length === 0) return null;
  const played = at === null ? 0 : playedAt(times, at);
  const toggle = (): void => {
    // From its end it begins anew.
    if (!isPlaying && (at === null || at >= last)) onMove(first);
    setPlaying(!isPlaying);
  };
  return (
    <div className="replay" role="group" aria-label="Replay">
      <button type="button" className="button" onClick={toggle}>
        <Icon name={isPlaying ? "stop" : "play"} size={14} /> {isPlaying ? "Hold" : "Replay"}
      </button>
      <span className="chips" role="group" aria-label="Speed">
        {SPEEDS.map((one) => (
          <button
            key={one}
            type="button"
            className="chip chip-button"
            aria-pressed={speed === one}
            onClick={() => setSpeed(one)}
          >
            {one === "max" ? "max" : `${one}×`}
          </button>
        ))}
      </span>
      <input
        type="range"
        min={0}
        max={times.length}
        value={played}
        aria-label="Event"
        aria-valuetext={`${played} of ${times.length} events`}
        onChange={(event) => {
          setPlaying(false);
          onMove(sought(times, played, Number(event.target.value)));
        }}
      />
      <span className="hint replay-at">
        {played} of {times.length} events{at === null ? "" : `, ${duration(at - first)} after the first`}
      </span>
      {at !== null && (
        <button
          type="button"
          className="link-button"
          onClick={() => {
            setPlaying(false);
            onMove(null);
          }}
        >
          Leave the replay
        </button>
      )}
      <p className="hint replay-note">
        The replay shows when what happened. What was said, asked and answered is its owner's, and stays hidden.
      </p>
    </div>
  );
}
