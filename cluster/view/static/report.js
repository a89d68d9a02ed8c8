// What a report runs: the page over the data that stands in it.

import { start } from "./app.js";
import { embeddedData } from "./data.js";

start(embeddedData());
