import { type KeyboardEvent, useEffect, useId, useMemo, useState } from "react";
import { Dialog } from "../ui/Dialog";
import { tellError } from "../ui/toasts";
import { useStore } from "../ui/useStore";
import { closePalette, isPaletteOpen, openPalette } from "./paletteState";
import { useParts } from "./parts";
import { go, paths } from "./routes";
import { chooseTheme } from "./theme";

interface Command {
  readonly label: string;
  readonly note: string;
  readonly act: () => void;
}

const MOST_SHOWN = 12;

/** Everything by the keyboard: Ctrl K, some letters, Enter. */
export function Palette() {
  const isOpen = useStore(isPaletteOpen);
  useEffect(() => {
    const onKey = (event: globalThis.KeyboardEvent): void => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        if (isPaletteOpen.get()) closePalette();
        else openPalette();
      }
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
  return isOpen ? <OpenPalette /> : null;
}

function OpenPalette() {
  const commands = useCommands();
  const [words, setWords] = useState("");
  const [at, setAt] = useState(0);
  const id = useId();
  const found = useMemo(() => matching(commands, words).slice(0, MOST_SHOWN), [commands, words]);
  const run = (command: Command | undefined): void => {
    if (command === undefined) return;
    closePalette();
    command.act();
  };
  const onKey = (event: KeyboardEvent): void => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined && found.length > 0) {
      event.preventDefault();
      setAt((at + step + found.length) % found.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      run(found[at]);
    }
  };
  return (
    <Dialog title="Commands" className="palette" hideTitle onClose={closePalette}>
      <input
        className="palette-input"
        role="combobox"
        aria-label="Command or conversation"
        aria-expanded="true"
        aria-controls={`${id}-list`}
        aria-activedescendant={found.length === 0 ? undefined : `${id}-${at}`}
        placeholder="Where to, or what to do?"
        value={words}
        data-focus=""
        onChange={(event) => {
          setWords(event.target.value);
          setAt(0);
        }}
        onKeyDown={onKey}
      />
      <ul id={`${id}-list`} role="listbox" aria-label="Commands" className="palette-list">
        {found.map((command, index) => (
          <li
            key={`${command.note}${command.label}${index}`}
            id={`${id}-${index}`}
            role="option"
            aria-selected={index === at}
            className={index === at ? "palette-item palette-at" : "palette-item"}
            onMouseMove={() => setAt(index)}
            onClick={() => run(command)}
          >
            <span>{command.label}</span>
            <span className="hint">{command.note}</span>
          </li>
        ))}
      </ul>
      {found.length === 0 && (
        <p className="hint palette-none" role="status">
          Nothing is called so.
        </p>
      )}
    </Dialog>
  );
}

function useCommands(): readonly Command[] {
  const { threads, may, leave } = useParts();
  const shown = useStore(threads.shown);
  return useMemo(() => {
    const way = (label: string, path: string): Command => ({ label, note: "go to", act: () => go(path) });
    const commands = [
      way("New conversation", paths.fresh),
      way("Questions that wait for me", paths.approvals),
      way("Archive", paths.archive),
      way("Profile and password", paths.settings()),
      way("My sessions", paths.settings("sessions")),
      way("My usage", paths.settings("usage")),
      way("My data", paths.settings("data")),
    ];
    if (may("admin:runs")) {
      commands.push(
        way("Console: live runs", paths.console("runs")),
        way("Console: queue and nodes", paths.console("operations")),
        way("Console: latency and throughput", paths.console("throughput")),
        way("Console: errors", paths.console("errors")),
        way("Console: runs that wait for a person", paths.console("approvals")),
        way("Console: usage", paths.console("usage")),
        way("Console: doctor", paths.console("doctor")),
      );
    }
    if (may("admin:users")) commands.push(way("Console: users", paths.console("users")));
    if (may("admin:audit")) commands.push(way("Console: audit trail", paths.console("audit")));
    commands.push(
      { label: "Dark theme", note: "theme", act: () => chooseTheme("dark") },
      { label: "Light theme", note: "theme", act: () => chooseTheme("light") },
      { label: "The system's theme", note: "theme", act: () => chooseTheme("system") },
      { label: "Sign out", note: "session", act: () => void leave().catch(tellError) },
    );
    for (const thread of shown.threads) {
      commands.push({ label: thread.title, note: "conversation", act: () => go(paths.thread(thread.id)) });
    }
    return commands;
  }, [shown, may, leave]);
}

/** Those that hold every word that was typed; those that begin with the words come first. */
function matching(commands: readonly Command[], typed: string): Command[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const whole = words.join(" ");
  return commands
    .filter((command) => words.every((word) => command.label.toLowerCase().includes(word)))
    .sort(
      (one, other) =>
        Number(other.label.toLowerCase().startsWith(whole)) - Number(one.label.toLowerCase().startsWith(whole)),
    );
}
