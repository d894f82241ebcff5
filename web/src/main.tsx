import { createRoot } from "react-dom/client";
import { App } from "./app/App";
import "./styles/tokens.css";
import "./styles/page.css";
import "./styles/chat.css";
import "./styles/markdown.css";
import "./styles/panels.css";

const place = document.getElementById("page");
if (place === null) throw new Error("the page has no place for the application");
createRoot(place).render(<App />);
