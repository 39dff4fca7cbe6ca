// The start: who is there, and then the page or the log-in.

import * as api from "./api.js";
import { ApiError } from "./api.js";
import { Dashboard } from "./dashboard.js";
import { byId } from "./dom.js";
import { Store } from "./state.js";
import { setUpTheme } from "./theme.js";
import { Troubles } from "./troubles.js";
import { LogInView } from "./views/log-in.js";

const store = new Store();
let projects = null;

const troubles = new Troubles(byId("notices"), {
  retry: () => (projects === null ? enter() : dashboard.refresh()),
  signedOut: () => leave("The session has ended. Log in again."),
});
const dashboard = new Dashboard(store, troubles);
const logIn = new LogInView({ done: enter });

setUpTheme(byId("theme"), () => dashboard.redraw());
byId("sign-out").addEventListener("click", async () => {
  dashboard.stop();
  try {
    await api.logOut();
    leave();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    dashboard.start(projects);
    troubles.report(error);
  }
});

/** Shows the dashboard to whoever is logged in, the log-in to others. */
async function enter() {
  try {
    ({ projects } = await api.session());
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) leave();
    else troubles.report(error);
    return;
  }
  troubles.clear();
  logIn.hide();
  byId("sign-out").hidden = false;
  dashboard.start(projects);
}

function leave(reason) {
  projects = null;
  dashboard.stop();
  byId("sign-out").hidden = true;
  logIn.show(reason);
}

enter();
