import { render } from "preact";
import { App } from "./app";
import "./style.css";
import { apply } from "./theme";

apply();
const place = document.getElementById("app");
if (place) render(<App />, place);
