import { memo, useEffect, useState } from "react";
import { CopyButton } from "../CopyButton";
import { highlighted } from "./highlight";
import { codeHtml } from "./html";

/** Code as it was written, with its words marked once it is whole, and a button that copies it. */
export const CodeBlock = memo(function CodeBlock(props: {
  readonly code: string;
  readonly language: string;
  readonly isWhole: boolean;
}) {
  const { code, language, isWhole } = props;
  const [marked, setMarked] = useState<{ readonly code: string; readonly html: TrustedHTML | string } | null>(null);
  useEffect(() => {
    if (!isWhole) return;
    let isHere = true;
    void highlighted(code, language).then((html) => {
      if (!isHere || html === null) return;
      setMarked({ code, html: codeHtml(html) });
    });
    return () => {
      isHere = false;
    };
  }, [code, language, isWhole]);
  return (
    <figure className="code">
      <figcaption>
        <span>{language === "" ? "text" : language}</span>
        <CopyButton text={code} label="Copy code" />
      </figcaption>
      {/* A region that scrolls is reached by the keyboard. */}
      <pre tabIndex={0} role="group" aria-label={`Code, ${language === "" ? "text" : language}`}>
        {marked !== null && marked.code === code ? (
          <code dangerouslySetInnerHTML={{ __html: marked.html as string }} />
        ) : (
          <code>{code}</code>
        )}
      </pre>
    </figure>
  );
});
