import type { MouseEvent } from "react";
import { useParts } from "../app/parts";
import { download } from "../chat/exports";
import { Icon } from "../ui/Icon";
import { tellError } from "../ui/toasts";

const PATH = "/v1/me/export";

/** Everything that the person said and was told here, as one file. */
export function Export() {
  const { api } = useParts();
  const take = (event: MouseEvent): void => {
    event.preventDefault();
    // A browser that downloads does not refresh a session: a call before it does.
    api.get("/v1/me").then(() => download(PATH), tellError);
  };
  return (
    <section className="card form" aria-label="Export">
      <p>
        One zip file with your profile and every conversation of yours, archived ones too, each as Markdown, to be read,
        and as JSON, to be worked with. What others wrote in conversations of their own is not in it.
      </p>
      <p className="hint">A download that breaks off cannot be opened: begin it again.</p>
      <p>
        <a className="button button-strong" href={PATH} download onClick={take}>
          <Icon name="download" size={15} /> Download my conversations
        </a>
      </p>
    </section>
  );
}
