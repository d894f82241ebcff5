import { useCallback, useEffect, useRef, useState } from "react";
import { Backoff } from "../client/backoff";
import { type ApiError, asApiError } from "../client/errors";

/** What was read last. `isOther`: it answers an earlier question, and the answer to the present one is on its way. */
export interface Polled<T> {
  readonly value: T | null;
  readonly error: ApiError | null;
  readonly readAt: number;
  readonly isOther: boolean;
  readonly again: () => void;
}

type Read<T> = (signal: AbortSignal) => Promise<T>;

interface Answered<T> {
  readonly value: T | null;
  readonly error: ApiError | null;
  readonly readAt: number;
  readonly by: Read<T> | null;
}

/**
 * What `read` gives, at once and then with this pause after each answer; null reads once. Failures are shown, wait
 * longer each time, and leave what was read before. Whoever calls keeps the same `read` until the question changes.
 */
export function usePolled<T>(read: Read<T>, everyMs: number | null = null): Polled<T> {
  const [answered, setAnswered] = useState<Answered<T>>({ value: null, error: null, readAt: 0, by: null });
  const [wish, setWish] = useState(0);
  const done = useRef<{ readonly read: Read<T>; readonly wish: number } | null>(null);
  useEffect(() => {
    // To stop reading again and again asks for nothing more.
    if (everyMs === null && done.current?.read === read && done.current.wish === wish) return;
    const aborting = new AbortController();
    const backoff = new Backoff(everyMs ?? 0);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = async (): Promise<void> => {
      let wait = everyMs;
      try {
        const value = await read(aborting.signal);
        if (aborting.signal.aborted) return;
        setAnswered({ value, error: null, readAt: Date.now(), by: read });
        backoff.reset();
      } catch (thrown) {
        if (aborting.signal.aborted) return;
        const error = asApiError(thrown);
        setAnswered((known) => ({ ...known, error, by: read }));
        if (wait !== null) wait = backoff.next(wait);
      }
      done.current = { read, wish };
      if (wait !== null) timer = setTimeout(() => void look(), wait);
    };
    void look();
    return () => {
      aborting.abort();
      clearTimeout(timer);
    };
  }, [read, everyMs, wish]);
  const again = useCallback(() => setWish((before) => before + 1), []);
  const { value, error, readAt, by } = answered;
  return { value, error: by === read ? error : null, readAt, isOther: value !== null && by !== read, again };
}
