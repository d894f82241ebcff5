import { Page } from "../ui/Page";

export default function Console(props: {
  readonly section: string;
  readonly id: string | null;
  readonly query: URLSearchParams;
}) {
  return <Page title={props.section}>{null}</Page>;
}
