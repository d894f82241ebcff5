import { useParts } from "../app/parts";
import { useStore } from "../ui/useStore";

const EXAMPLES: readonly string[] = [
  "What can you do, and which tools do you have?",
  "What time is it, and what is 17 × 23?",
  "Search my conversations for what I asked last week.",
];

/** Before the first message: what one can ask. */
export function Welcome({ onPick }: { readonly onPick: (text: string) => void }) {
  const { agents, who } = useParts();
  const known = useStore(agents);
  const first = known[0] as { readonly description: string; readonly examples?: readonly string[] } | undefined;
  const examples = first?.examples !== undefined && first.examples.length > 0 ? first.examples : EXAMPLES;
  const name = who.user.name.split(" ")[0];
  return (
    <section className="welcome">
      <h2>{name === undefined || name === "" ? "What shall we look at?" : `Hello ${name}. What shall we look at?`}</h2>
      {first !== undefined && first.description !== "" && <p>{first.description}</p>}
      <ul className="examples" aria-label="Examples">
        {examples.map((example) => (
          <li key={example}>
            <button type="button" className="example" onClick={() => onPick(example)}>
              {example}
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
