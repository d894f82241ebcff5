import type { Event, StreamOpened } from "../../src/client/live";
import type { MessageAnswer, RunAnswer, ThreadAnswer } from "../../src/client/rest";
import { readFrame } from "../../src/client/socket";
import recorded from "../logs.json";
import { type Fact, log, of } from "./story";

/** A log that a server may write. */
export interface RightLog {
  readonly name: string;
  readonly events: readonly Event[];
}

const one = of("run_1");
const two = of("run_2", "b");
const child = of("run_child", "c");
const begin = [one.created(), one.queued(), one.started()];

const STORIES: Readonly<Record<string, readonly Fact[]>> = {
  "an answer": [
    ...begin,
    one.thinking("hm, "),
    one.thinking("well"),
    one.executing(),
    one.progress(),
    one.executed(),
    one.delta("he"),
    one.delta("llo"),
    one.whole("hello"),
    one.completed(),
  ],
  "an answer without deltas": [...begin, one.whole("hello"), one.completed()],
  "two answers with a tool between": [
    ...begin,
    one.delta("first"),
    one.whole("first"),
    one.executing(),
    one.broken(),
    one.delta("second", "m2"),
    one.whole("second", "m2"),
    one.completed("m2"),
  ],
  "cancelled before it began": [one.created(), one.queued(), one.cancelled()],
  "failed before it began": [one.created(), one.queued(), one.failed()],
  "timed out in mid-stream": [...begin, one.delta("he"), one.timedOut()],
  "cancelled in mid-stream, with a tool at work": [...begin, one.delta("he"), one.executing(), one.cancelled()],
  "a second attempt": [
    ...begin,
    one.thinking("first try", 1),
    one.executing(),
    one.delta("hal"),
    one.started(2),
    one.restarted(1, "m1", "t1"),
    one.thinking("second try", 1),
    one.executing(),
    one.executed(),
    one.delta("half"),
    one.whole("half and all"),
    one.completed(),
  ],
  "an approval": [
    ...begin,
    one.asked(),
    one.answered("approve", { a: 2 }),
    one.started(2),
    one.executing("t1", { a: 2 }),
    one.executed(),
    one.whole("done"),
    one.completed(),
  ],
  "a refusal": [...begin, one.asked(), one.answered("deny"), one.started(2), one.whole("then not"), one.completed()],
  "an approval given to another": [
    ...begin,
    one.asked(),
    one.given("user_2"),
    one.given(null),
    one.given("user_2"),
    one.answered("expired"),
    one.started(2),
    one.whole("too late"),
    one.completed(),
  ],
  "tried again": [...begin, one.failed(), two.retried("run_1"), two.started(), two.whole("now"), two.completed("m1b")],
  "tried again in vain": [...begin, one.failed(), two.retried("run_1"), two.started(), two.failed("again")],
  "a second one in the queue": [
    ...begin,
    two.created("and then?"),
    two.queued(1, "thread_busy"),
    one.delta("he"),
    one.whole("hello"),
    one.completed(),
    two.started(),
    two.delta("th"),
    two.whole("that"),
    two.completed("m1b"),
  ],
  "renamed meanwhile": [...begin, one.renamed("a title"), one.whole("hello"), one.completed(), one.renamed("another")],
  "an agent below": [
    ...begin,
    one.childStarted("run_child"),
    child.started(),
    child.executing(),
    child.executed(),
    child.whole("to the parent"),
    child.completed("m1c"),
    one.childCompleted("run_child"),
    one.whole("all done"),
    one.completed(),
  ],
  "kinds of events that are not known yet": [
    ...begin,
    one.unknown(),
    one.delta("he"),
    of("run_unknown").unknown(),
    one.whole("hello"),
    one.completed(),
  ],
};

/** What a real server told of a thread: its log, the opening of its stream, and what it answers about it. */
export interface RecordedLog extends RightLog {
  readonly thread: ThreadAnswer;
  /** The newest first, as they are listed. */
  readonly messages: readonly MessageAnswer[];
  readonly runs: readonly RunAnswer[];
  readonly opened: StreamOpened;
  readonly snapshot: StreamOpened;
}

export const RECORDED_LOGS = recorded.recorded as unknown as readonly RecordedLog[];

/** The cases of the server's own checker of orders, as a socket would bring them: what is no JSON does not come. */
const cases = (kind: "right" | "wrong"): RightLog[] =>
  recorded[kind].map(({ name, frames }) => ({
    name: `${name} (of the checker)`,
    events: frames.flatMap((text) => {
      const frame = readFrame(text);
      return frame.kind === "events" ? frame.events : [];
    }),
  }));

export const RIGHT_LOGS: readonly RightLog[] = [
  ...Object.entries(STORIES).map(([name, facts]) => ({ name, events: log(facts) })),
  ...cases("right"),
];

/** A log that no server should write; what cannot be read as JSON never gets as far as the reducer. */
export interface WrongLog {
  readonly name: string;
  readonly events: readonly Event[];
}

const withSeqs = (facts: readonly Fact[], seqs: readonly number[]): Event[] =>
  log(facts).map((event, at) => ({ ...event, seq: seqs[at] ?? 0 }));

const WRONG_STORIES: Readonly<Record<string, readonly Fact[]>> = {
  "given before it was asked": [...begin, one.given("user_2"), one.asked(), one.completed()],
  "something after the end": [...begin, one.completed(), one.thinking()],
  "a tool after the end": [...begin, one.completed(), one.executing()],
  "a question after the end": [...begin, one.completed(), one.asked()],
  "an attempt after the end": [...begin, one.failed(), one.started(2)],
  "queued after the end": [...begin, one.failed(), one.queued(1)],
  "two ends": [...begin, one.completed(), one.failed()],
  "no message": [one.queued(), one.started(), one.completed()],
  "queued before the message": [one.queued(), one.created(), one.started(), one.completed()],
  "a second message": [...begin, one.delta("he"), one.created(), one.whole("hello"), one.completed()],
  "the message again after the end": [...begin, one.whole("hello"), one.completed(), one.created()],
  "a tool without an outcome": [...begin, one.executing(), one.completed()],
  "an outcome without a call": [...begin, one.executed(), one.completed()],
  "progress without a call": [...begin, one.progress(), one.completed()],
  "progress of a message": [...begin, one.delta("he"), one.progress("x", 1, "m1"), one.whole("hello"), one.completed()],
  "a call again": [...begin, one.executing(), one.executed(), one.executing(), one.executed(), one.completed()],
  "a delta after the whole": [...begin, one.whole("hello"), one.delta("he"), one.completed()],
  "a delta after the end": [...begin, one.delta("he"), one.completed(), one.delta("llo")],
  "a message whole twice": [...begin, one.whole("hello"), one.whole("hello"), one.completed()],
  "a message left half": [...begin, one.delta("he"), one.completed()],
  "an agent below that does not end": [...begin, one.childStarted("run_child"), child.executing(), one.failed()],
};

export const WRONG_LOGS: readonly WrongLog[] = [
  ...cases("wrong"),
  ...Object.entries(WRONG_STORIES).map(([name, facts]) => ({ name, events: log(facts) })),
  {
    name: "numbers go back",
    events: withSeqs(
      [...begin, one.delta("he"), one.delta("llo"), one.whole("hello"), one.completed()],
      [1, 2, 3, 5, 4, 6, 7],
    ),
  },
  {
    name: "a number twice",
    events: withSeqs([...begin, one.delta("he"), one.delta("he"), one.completed()], [1, 2, 3, 4, 4, 5]),
  },
];
